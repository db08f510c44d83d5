from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from common.metrics.aggregation import aggregate
from common.metrics.binary import recall, recall_rate, specificity
from common.metrics.calibration import (
    at_prevalence,
    calibrated,
    calibrated_classes,
    expected_calibration_error,
    fit_calibration,
    fit_class_calibration,
    reliability,
)
from common.metrics.operating import (
    best_f1_threshold,
    threshold_at_recall_rate,
    threshold_at_sensitivity,
    threshold_at_specificity,
)

TRUTH = np.array([0, 0, 0, 0, 1, 0, 1, 1], bool)
SCORE = np.array([0.1, 0.2, 0.2, 0.4, 0.5, 0.6, 0.7, 0.9])


def test_thresholds_by_hand() -> None:
    assert best_f1_threshold(TRUTH, SCORE) == pytest.approx(0.45, abs=0.05)  # 3 of 4 called are positive: .857
    assert threshold_at_specificity(TRUTH, SCORE, 0.8) == 0.6
    assert 0.6 < threshold_at_specificity(TRUTH, SCORE, 1.0) < 0.7
    assert threshold_at_sensitivity(TRUTH, SCORE, 1.0) == 0.5
    assert threshold_at_sensitivity(TRUTH, SCORE, 0.6) == 0.7
    assert threshold_at_recall_rate(SCORE, 0.25) == 0.7


@pytest.mark.parametrize("wish", [0.0, 0.05, 0.3, 0.5, 0.77, 0.95, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_threshold_keeps_its_promise_even_with_ties(seed: int, wish: float) -> None:
    rng = np.random.default_rng(seed)
    truth = np.r_[True, False, rng.random(40) < 0.3]
    score = np.round(rng.random(42), 1)
    assert specificity(truth, score >= threshold_at_specificity(truth, score, wish))[0] >= wish - 1e-9
    assert recall(truth, score >= threshold_at_sensitivity(truth, score, wish))[0] >= wish - 1e-9
    assert recall_rate(truth, score >= threshold_at_recall_rate(score, wish))[0] <= wish + 1e-9


@pytest.mark.parametrize(
    ("choose", "words"),
    [
        (lambda: best_f1_threshold([False] * 3, [0.1, 0.2, 0.3]), "no positives among 3 rows"),
        (lambda: threshold_at_specificity([True] * 3, [0.1, 0.2, 0.3], 0.9), "no negatives"),
        (lambda: threshold_at_recall_rate([], 0.1), "no rows among 0"),
        (lambda: best_f1_threshold(TRUTH, np.where(SCORE > 0.8, np.nan, SCORE)), "1 of 8 scores are NaN"),
    ],
)
def test_what_cannot_be_chosen_is_refused(choose, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        choose()


def sample(n: int = 4000, temperature: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Truths, and probabilities whose logits are ``temperature`` times too large."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-1, 1.5, n)
    truth = rng.random(n) < 1 / (1 + np.exp(-logit))
    return truth, 1 / (1 + np.exp(-temperature * logit))


def test_calibration_error_by_hand() -> None:
    truth, p = np.array([1, 0, 1, 1], bool), np.array([0.05, 0.05, 0.95, 0.85])
    # bins of tenths: |.05 - .5| · 2/4 + |.95 - 1| / 4 + |.85 - 1| / 4
    assert expected_calibration_error(truth, p, bins=10)[0] == pytest.approx(0.225 + 0.0125 + 0.0375)
    table = reliability(truth, p, bins=10)
    assert list(table["n"]) == [2, 1, 1] and table["positive"].iloc[0] == 0.5


@pytest.mark.parametrize("kind", ["temperature", "isotonic"])
def test_a_calibration_mends_overconfidence_on_other_data(kind: str) -> None:
    fitted = fit_calibration(*sample(temperature=3, seed=0), kind)
    truth, p = sample(temperature=3, seed=1)
    before, after = (expected_calibration_error(truth, q)[0] for q in (p, calibrated(p, fitted)))
    assert before > 0.08 and after < 0.03
    assert (np.diff(calibrated(np.sort(p), fitted)) >= 0).all()  # the order stays


def test_the_temperature_is_the_one_that_was_drawn() -> None:
    assert fit_calibration(*sample(20_000, 2.0))["temperature"] == pytest.approx(2.0, rel=0.05)


def test_no_calibration_and_unknown_ones() -> None:
    assert calibrated([0.3], None)[0] == 0.3
    with pytest.raises(ValueError, match="choose temperature, platt or isotonic"):
        fit_calibration(TRUTH, SCORE, "beta")
    with pytest.raises(ValueError, match="one class"):
        fit_calibration([True, True], [0.1, 0.2])


def test_another_prevalence_by_hand_and_back() -> None:
    # odds 1:1 at prevalence .5 are odds 1:9 at prevalence .1
    assert at_prevalence([0.5], 0.5, 0.1)[0] == pytest.approx(0.1)
    p = np.array([0.02, 0.5, 0.97])
    np.testing.assert_allclose(at_prevalence(at_prevalence(p, 0.3, 0.01), 0.01, 0.3), p, rtol=1e-6)
    with pytest.raises(ValueError, match="between 0 and 1"):
        at_prevalence(p, 0.0, 0.1)


def images() -> pd.DataFrame:
    rows = [("a", "L", "CC", 0.2, False, 40), ("a", "L", "MLO", 0.6, False, 40), ("a", "R", "CC", 0.9, True, 40)]
    rows += [("b", "L", "CC", 0.1, False, 61)]
    return pd.DataFrame(rows, columns=["patient_id", "laterality", "view", "probability", "positive", "age"])


@pytest.mark.parametrize(
    ("rule", "left"), [("mean", 0.4), ("max", 0.6), ("noisy_or", 1 - 0.8 * 0.4)], ids=["mean", "max", "noisy or"]
)
def test_images_become_breasts(rule: str, left: float) -> None:
    breasts = aggregate(images(), "breast", rule).set_index(["patient_id", "laterality"])
    assert breasts.loc[("a", "L"), "probability"] == pytest.approx(left)
    assert list(breasts["images"]) == [2, 1, 1] and list(breasts["positive"]) == [False, True, False]
    assert "view" not in breasts and breasts.loc[("b", "L"), "age"] == 61  # what varies within a unit is dropped


def test_breasts_become_patients_and_missing_names_are_refused() -> None:
    patients = aggregate(images(), "patient", "max").set_index("patient_id")
    assert list(patients["probability"]) == [0.9, 0.1] and list(patients["positive"]) == [True, False]
    with pytest.raises(ValueError, match="laterality"):
        aggregate(images().drop(columns="laterality"), "breast")
    with pytest.raises(ValueError, match="Unknown level"):
        aggregate(images(), "hospital")


def test_classes_are_calibrated_by_one_temperature() -> None:
    """Logits that were doubled are found to have the temperature 2, and the calibration undoes it."""
    rng = np.random.default_rng(0)
    honest = softmax(rng.normal(0, 1.5, (20_000, 3)), axis=1)
    truth = np.array([rng.choice(3, p=p) for p in honest])
    loud = softmax(2 * np.log(honest), axis=1)
    found = fit_class_calibration(truth, loud)
    assert found["temperature"] == pytest.approx(2, abs=0.08)
    np.testing.assert_allclose(calibrated_classes(loud, {**found, "temperature": 2.0}), honest, atol=1e-4)
    np.testing.assert_array_equal(calibrated_classes(loud, None), loud)


def test_two_classes_are_calibrated_like_one_probability() -> None:
    p, point = np.array([0.1, 0.6, 0.97]), {"kind": "temperature", "temperature": 1.7}
    both = calibrated_classes(np.stack([1 - p, p], 1), point)
    np.testing.assert_allclose(both[:, 1], calibrated(p, point), atol=1e-6)
    with pytest.raises(ValueError, match="by temperature, not by 'isotonic'"):
        calibrated_classes(both, {"kind": "isotonic"})


def test_a_factor_and_a_shift_undo_what_resampling_did() -> None:
    """Logits that were doubled and raised, as by drawing positives more often, come back."""
    rng = np.random.default_rng(0)
    logit = rng.normal(-2, 1.5, 40_000)
    truth = rng.random(len(logit)) < 1 / (1 + np.exp(-logit))
    raised = 1 / (1 + np.exp(-(2 * logit + 3)))
    found = fit_calibration(truth, raised, "platt")
    assert found["factor"] == pytest.approx(0.5, abs=0.03) and found["shift"] == pytest.approx(-1.5, abs=0.08)
    back = calibrated(raised, {**found, "factor": 0.5, "shift": -1.5})
    np.testing.assert_allclose(back, 1 / (1 + np.exp(-logit)), rtol=0.02, atol=1e-4)

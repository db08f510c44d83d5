from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from common.metrics.calibration import expected_calibration_error
from common.metrics.two_class import statistics
from common.metrics.two_class_points import apply_point, choose_point, nested_points


def rows(seed: int = 0, patients: int = 300) -> pd.DataFrame:
    """Over-sure probabilities of four images a patient, in three folds."""
    rng = np.random.default_rng(seed)
    sides = pd.DataFrame([(p, s, v) for p in range(patients) for s in "LR" for v in (0, 1)])
    truth = np.repeat(rng.random(2 * patients) < 0.3, 2)
    logit = 3 * (rng.normal(2 * truth, 1) - 1.5)
    facts = {"positive": truth, "probability": 1 / (1 + np.exp(-logit))}
    return sides.set_axis(["patient_id", "laterality", "view"], axis=1).assign(**facts, fold=lambda t: t.patient_id % 3)


def test_a_point_is_chosen_on_breasts_and_calibrates() -> None:
    one, other = rows(0), rows(1)
    point = choose_point(one, level="breast")
    assert point["level"] == "breast" and point["calibration"]["temperature"] > 1.5 and point["n"] == 1200
    done = apply_point(other, point)
    assert (done["threshold"] == point["threshold"]).all()
    before, after = (expected_calibration_error(other["positive"], t["probability"])[0] for t in (other, done))
    assert after < before
    np.testing.assert_array_equal(apply_point(done, point)["probability"], done["probability"])  # from the raw ones


@pytest.mark.parametrize(
    ("wish", "figure", "low", "high"),
    [("specificity=.9", "specificity", 0.9, 0.91), ("sensitivity=.8", "recall", 0.8, 0.81)]
    + [("recall_rate=.1", "recall_rate", 0.09, 0.1)],
)
def test_wishes_are_fulfilled_where_they_were_chosen(wish: str, figure: str, low: float, high: float) -> None:
    table = apply_point(rows(), choose_point(rows(), wish=wish))
    assert low <= statistics(table)[figure](np.ones((1, len(table))))[0] <= high


def test_no_row_has_a_say_in_its_own_threshold() -> None:
    table = rows()
    final, points = nested_points(table, wish="best_f1", calibration="isotonic")
    assert set(points) == {0, 1, 2} and len(final) == len(table)
    changed = table.assign(probability=table["probability"].where(table["fold"] != 0, 0.5))
    assert nested_points(changed, wish="best_f1", calibration="isotonic")[1][0] == points[0]
    with pytest.raises(ValueError, match="at least two"):
        nested_points(table[table["fold"] == 0])


def test_another_prevalence_moves_probabilities_and_threshold_alike() -> None:
    point = choose_point(rows())
    here, rare = apply_point(rows(), point), apply_point(rows(), point, prevalence=0.005)
    assert rare["probability"].mean() < 0.2 * here["probability"].mean()
    calls = [(t["probability"] >= t["threshold"]).mean() for t in (here, rare)]
    assert calls[0] == pytest.approx(calls[1], abs=2e-3)


@pytest.mark.parametrize("wish", ["best", "sensitivity", "best_f1=.3"])
def test_unknown_wishes_are_refused(wish: str) -> None:
    with pytest.raises(ValueError, match="Unknown wish"):
        choose_point(rows(), wish=wish)

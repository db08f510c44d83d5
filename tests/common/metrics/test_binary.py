"""Two-class figures against hand-computed cases, scikit-learn, and what must hold of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn import metrics as sk

from common.metrics import binary
from common.metrics.bootstrap import draws_of, estimate, group_weights
from common.metrics.classification import roc_auc

TRUTH = np.array([1, 1, 0, 0, 0, 1], bool)
SCORE = np.array([0.9, 0.4, 0.6, 0.4, 0.1, 0.7])
CALLED = SCORE >= 0.5  # TP 2, FP 1, FN 1, TN 2

HAND = [
    (binary.recall, CALLED, 2 / 3),
    (binary.specificity, CALLED, 2 / 3),
    (binary.precision, CALLED, 2 / 3),
    (binary.recall_rate, CALLED, 1 / 2),
    (binary.f1, CALLED, 2 / 3),
    (binary.probabilistic_f1, SCORE, 2 * 2.0 / (3.1 + 3)),
    (binary.brier_score, SCORE, (0.01 + 0.36 + 0.36 + 0.16 + 0.01 + 0.09) / 6),
    (binary.average_precision, SCORE, 1 / 3 * (1 + 1 + 3 / 5)),
    (roc_auc, SCORE, (3 + 1.5 + 3) / 9),
]


@pytest.mark.parametrize(("metric", "given", "expected"), HAND, ids=[case[0].__name__ for case in HAND])
def test_by_hand(metric, given, expected: float) -> None:
    assert metric(TRUTH, given)[0] == pytest.approx(expected)


def table(seed: int, n: int = 60, digits: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.r_[True, False, rng.random(n - 2) < 0.3]
    return truth, np.round(np.clip(rng.normal(0.4 + 0.2 * truth, 0.25), 0, 1), digits)


@pytest.mark.parametrize("digits", [1, 8], ids=["with ties", "without ties"])
@pytest.mark.parametrize("seed", range(5))
def test_as_scikit_learn_computes_them(seed: int, digits: int) -> None:
    truth, score = table(seed, digits=digits)
    weight = np.random.default_rng(seed).integers(0, 4, (1, len(truth))).astype(np.float32)
    weight[0, :2] = 1
    called, w = score >= 0.5, weight[0]
    for ours, theirs in [
        (roc_auc(truth, score, weight), sk.roc_auc_score(truth, score, sample_weight=w)),
        (binary.average_precision(truth, score, weight), sk.average_precision_score(truth, score, sample_weight=w)),
        (binary.brier_score(truth, score, weight), sk.brier_score_loss(truth, score, sample_weight=w)),
        (binary.f1(truth, called, weight), sk.f1_score(truth, called, sample_weight=w)),
        (binary.precision(truth, called, weight), sk.precision_score(truth, called, sample_weight=w)),
        (binary.recall(truth, called, weight), sk.recall_score(truth, called, sample_weight=w)),
        (binary.specificity(truth, called, weight), sk.recall_score(~truth, ~called, sample_weight=w)),
    ]:
        assert ours[0] == pytest.approx(theirs, abs=1e-6)


ALL = {**binary.OF_SCORES, **binary.OF_CALLS}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(sorted(ALL)))
def test_order_and_doubled_patients_leave_the_figure(seed: int, name: str) -> None:
    truth, score = table(seed)
    given_ = score if name in binary.OF_SCORES else score >= 0.5
    shuffled = np.random.default_rng(seed).permutation(len(truth))
    value = ALL[name](truth, given_)[0]
    assert ALL[name](truth[shuffled], given_[shuffled])[0] == pytest.approx(value, nan_ok=True)
    assert ALL[name](np.tile(truth, 2), np.tile(given_, 2))[0] == pytest.approx(value, nan_ok=True)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([np.exp, np.arctan, lambda s: s**3 + s]))
def test_ranking_figures_do_not_mind_a_rising_curve(seed: int, curve) -> None:
    truth, score = table(seed)
    for metric in (roc_auc, binary.average_precision):
        assert metric(truth, curve(score))[0] == pytest.approx(metric(truth, score)[0])


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "probabilistic_f1", "f1", "recall"])
def test_without_positives_a_figure_is_undefined_with_a_warning(name: str) -> None:
    with pytest.warns(UserWarning, match="undefined on 4 rows"):
        found = estimate(lambda w: ALL[name](np.zeros(4, bool), np.linspace(0, 1, 4), w), range(4))
    assert np.isnan([found.value, found.low, found.high]).all()


def test_chunks_draw_what_one_piece_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = np.repeat(np.arange(20), 3)
    whole = group_weights(groups, 50, seed=3)
    monkeypatch.setattr("common.metrics.bootstrap.CHUNK", 200)
    assert np.array_equal(group_weights(groups, 50, seed=3), whole)
    truth, score = table(0)
    draws = draws_of(lambda w: roc_auc(truth, score, w), groups, 50, seed=3)
    np.testing.assert_allclose(draws, roc_auc(truth, score, whole))


def delong_variance(truth: np.ndarray, score: np.ndarray) -> float:
    """Return the variance of the AUC after DeLong, DeLong and Clarke-Pearson (Biometrics 1988)."""
    up, down = score[truth], score[~truth]
    wins = (up[:, None] > down[None]) + 0.5 * (up[:, None] == down[None])
    return float(wins.mean(1).var(ddof=1) / len(up) + wins.mean(0).var(ddof=1) / len(down))


@pytest.mark.parametrize("seed", range(3))
def test_the_interval_of_the_auc_agrees_with_delong(seed: int) -> None:
    truth, score = table(seed, n=600, digits=8)
    found = estimate(lambda w: roc_auc(truth, score, w), range(600))
    half = norm.ppf(0.975) * np.sqrt(delong_variance(truth, score))
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.08)
    assert found.low == pytest.approx(found.value - half, abs=0.006)

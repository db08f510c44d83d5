from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from common.metrics.classification import accuracy, balanced_accuracy, macro_auc, roc_auc, weighted_mean


@pytest.mark.parametrize(
    ("positive", "score", "expected"),
    [
        ([0, 0, 1, 1], [1, 2, 3, 4], 1.0),
        ([1, 1, 0, 0], [1, 2, 3, 4], 0.0),
        ([0, 1, 0, 1], [1, 1, 1, 1], 0.5),
        ([0, 1, 1], [2, 2, 3], 0.75),
        ([1, 1], [1, 2], np.nan),
    ],
    ids=["perfect", "reversed", "all ties", "half a tie", "one class"],
)
def test_auc_by_hand(positive, score, expected) -> None:
    np.testing.assert_allclose(roc_auc(positive, score), [expected])


def test_auc_equals_scikit_learn_on_ties_and_weights() -> None:
    rng = np.random.default_rng(0)
    positive, score = rng.random(200) < 0.3, rng.integers(0, 20, 200)
    weights = rng.integers(0, 3, (5, 200)).astype(np.float32)
    expected = [roc_auc_score(positive, score, sample_weight=w) for w in weights]
    np.testing.assert_allclose(roc_auc(positive, score, weights), expected, atol=1e-9)


def test_balanced_accuracy_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 3, 100), rng.integers(0, 3, 100)
    assert balanced_accuracy(truth, predicted)[0] == pytest.approx(balanced_accuracy_score(truth, predicted))


def test_balanced_accuracy_is_undefined_in_a_resample_without_a_class() -> None:
    assert np.isnan(balanced_accuracy([0, 1], [0, 1], np.array([[2.0, 0.0]])))[0]


def test_macro_auc_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth, probability = rng.integers(0, 3, 100), rng.dirichlet([1, 1, 1], 100)
    expected = roc_auc_score(truth, probability, multi_class="ovr")
    assert macro_auc(truth, probability)[0] == pytest.approx(expected)


def test_accuracy_and_mean_by_hand() -> None:
    assert accuracy(["a", "b", "b"], ["a", "a", "b"])[0] == pytest.approx(2 / 3)
    assert weighted_mean([1.0, np.nan, 3.0])[0] == 2.0
    assert np.isnan(weighted_mean([np.nan]))[0]

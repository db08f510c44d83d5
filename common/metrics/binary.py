"""Figures of a two-class decision or score, for weighted rows.

Each function takes optional weights (R, n), one row per resample, and returns (R,); without weights it returns the
plain figure as an array of one. What is undefined (no positives, nothing called positive) is NaN.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from common.metrics.classification import accuracy, as_weights, roc_auc, sorted_sums, weighted_mean

THRESHOLD = 0.5


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


def recall(positive: ArrayLike, called: ArrayLike, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the sensitivity: the share of positives (bool (n,)) that are called so (bool (n,))."""
    return weighted_mean(np.where(np.asarray(positive, bool), np.asarray(called, float), np.nan), weights)


def specificity(positive: ArrayLike, called: ArrayLike, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the share of negatives that are not called positive."""
    return weighted_mean(np.where(np.asarray(positive, bool), np.nan, 1 - np.asarray(called, float)), weights)


def precision(positive: ArrayLike, called: ArrayLike, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the share of what is called positive that is."""
    return weighted_mean(np.where(np.asarray(called, bool), np.asarray(positive, float), np.nan), weights)


def recall_rate(positive: ArrayLike, called: ArrayLike, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the share of all rows that is called positive: who is asked to come back from screening."""
    return weighted_mean(np.asarray(called, float), weights)


def f1(positive: ArrayLike, called: ArrayLike, weights: np.ndarray | None = None) -> np.ndarray:
    """Return 2 TP / (2 TP + FP + FN), the probabilistic F1 of certain calls; NaN where there are no positives."""
    return probabilistic_f1(positive, np.asarray(called, float), weights)


def probabilistic_f1(positive: ArrayLike, score: ArrayLike, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the F1 of expected counts: 2 Σpy / (Σp + Σy), in which a probability p counts as p of a call.

    NaN where there are no positives (Kaggle's own gives 0 there).

    Source: Yacouby and Axman, Probabilistic extension of precision, recall and F1 score (Eval4NLP 2020), as in Kaggle's
    RSNA Screening Mammography competition.

    Args:
        positive: bool (n,).
        score: probabilities (n,).
        weights: (R, n).
    """
    truth, p = np.asarray(positive, float), np.asarray(score, float)
    used = as_weights(weights, len(p))
    expected, there = used @ (p * truth), used @ truth
    return np.where(there > 0, _ratio(2 * expected, used @ p + there), np.nan)


def average_precision(positive: ArrayLike, score: ArrayLike, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the average precision Σ (Rₖ - Rₖ₋₁) Pₖ over the distinct scores; NaN where there are no positives."""
    up, down = (sums[:, ::-1] for sums in sorted_sums(positive, score, weights))  # highest score first
    found, called = np.cumsum(up, 1), np.cumsum(up + down, 1)
    gained = np.where(called > 0, up * found / np.maximum(called, 1e-12), 0.0).sum(1)
    return _ratio(gained, up.sum(1))


def brier_score(positive: ArrayLike, score: ArrayLike, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the mean squared difference of probability and truth; 0 is best."""
    return weighted_mean((np.asarray(score, float) - np.asarray(positive, float)) ** 2, weights)


OfScores = Callable[..., np.ndarray]
OF_SCORES: dict[str, OfScores] = {
    "roc_auc": roc_auc,
    "average_precision": average_precision,
    "probabilistic_f1": probabilistic_f1,
    "brier_score": brier_score,
}
OF_CALLS: dict[str, OfScores] = {
    "accuracy": accuracy,
    "f1": f1,
    "precision": precision,
    "recall": recall,
    "specificity": specificity,
    "recall_rate": recall_rate,
}

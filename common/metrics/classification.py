"""Accuracy, balanced accuracy and area under the ROC curve, for weighted rows.

Each function takes optional weights (R, n), one row per resample, and returns (R,); without weights it returns
the plain figure as an array of one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def as_weights(weights: np.ndarray | None, n: int) -> np.ndarray:
    """Return weights (R, n); ones (1, n) where there are none."""
    return np.ones((1, n)) if weights is None else weights


def weighted_mean(values: ArrayLike, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the mean of values (n,) under weights (R, n), leaving out NaN values; NaN where nothing is left."""
    values = np.asarray(values, np.float64)
    known = ~np.isnan(values)
    used = as_weights(weights, len(values))
    total, sums = used @ known.astype(np.float64), used @ np.where(known, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, sums / total, np.nan)


def accuracy(truth: ArrayLike, predicted: ArrayLike, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the share of rows whose predicted class (n,) is the true one (n,)."""
    return weighted_mean(np.asarray(truth) == np.asarray(predicted), weights)


def balanced_accuracy(truth: ArrayLike, predicted: ArrayLike, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the mean recall over the classes present in ``truth``; NaN in a resample that lacks one of them."""
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    recalls = [weighted_mean(np.where(truth == c, predicted == c, np.nan), weights) for c in np.unique(truth)]
    return np.mean(recalls, axis=0)


def roc_auc(positive: ArrayLike, score: ArrayLike, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the area under the ROC curve: P(score of a positive > score of a negative) + half the ties.

    Args:
        positive: bool (n,).
        score: (n,); higher means positive.
        weights: (R, n).

    Returns:
        (R,); NaN where there are no positives or no negatives.
    """
    up, down = sorted_sums(positive, score, weights)
    below = np.cumsum(down, axis=1) - down / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return (up * below).sum(1) / (up.sum(1) * down.sum(1))


def sorted_sums(
    positive: ArrayLike, score: ArrayLike, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight of positives and of negatives at each distinct score, ascending: two arrays (R, distinct)."""
    positive, score = np.asarray(positive, bool), np.asarray(score, np.float64)
    order = np.argsort(score, kind="stable")
    weight = as_weights(weights, len(score))[:, order].astype(np.float64, copy=False)
    up, down = weight * positive[order], weight * ~positive[order]
    ties = np.flatnonzero(np.r_[True, np.diff(score[order]) > 0])
    if len(ties) == len(score):
        return up, down
    return np.add.reduceat(up, ties, axis=1), np.add.reduceat(down, ties, axis=1)


def macro_auc(truth: ArrayLike, probabilities: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the mean one-against-rest AUC over the classes present.

    Args:
        truth: class index (n,).
        probabilities: (n, C).
        weights: (R, n).
    """
    truth = np.asarray(truth)
    return np.mean([roc_auc(truth == c, probabilities[:, c], weights) for c in np.unique(truth)], axis=0)

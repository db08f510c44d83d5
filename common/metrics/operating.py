"""Thresholds that meet a wish, to be chosen on other data than they are reported on.

Something is called positive where its score reaches the threshold. Scores are (n,), truth is bool (n,).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from common.metrics.binary import f1

GRID = np.round(np.arange(0, 1.005, 0.01), 2)


def best_f1_threshold(positive: ArrayLike, score: ArrayLike, grid: np.ndarray = GRID) -> float:
    """Return the threshold of best F1 on a grid from 0 to 1 by .01; the middle one of those that are equally good.

    Raises:
        ValueError: there are no positives.
    """
    truth, score = _checked(positive, score, "positives")
    values = np.array([f1(truth, score >= threshold)[0] for threshold in grid])
    best = np.flatnonzero(np.isclose(values, values.max()))
    return float(grid[best[len(best) // 2]])


def threshold_at_specificity(positive: ArrayLike, score: ArrayLike, specificity: float) -> float:
    """Return the lowest threshold that leaves at least this share of the negatives uncalled.

    Raises:
        ValueError: there are no negatives.
    """
    truth, score = _checked(positive, score, "negatives")
    return _calling_at_most(score[~truth], 1 - specificity)


def threshold_at_recall_rate(score: ArrayLike, rate: float) -> float:
    """Return the lowest threshold that calls at most this share of all rows."""
    _, score = _checked(np.ones(len(np.asarray(score)), bool), score, "rows")
    return _calling_at_most(score, rate)


def threshold_at_sensitivity(positive: ArrayLike, score: ArrayLike, sensitivity: float) -> float:
    """Return the highest threshold that calls at least this share of the positives.

    Raises:
        ValueError: there are no positives.
    """
    truth, score = _checked(positive, score, "positives")
    ascending = np.sort(score[truth])
    wanted = int(np.ceil(sensitivity * len(ascending) - 1e-9))
    return float(ascending[len(ascending) - wanted]) if wanted else _above(ascending[-1])


def _calling_at_most(scores: np.ndarray, share: float) -> float:
    """Return the lowest threshold that calls at most this share: one of the scores, or just above the highest."""
    ascending = np.sort(scores)
    allowed = int(np.floor(share * len(ascending) + 1e-9))
    if allowed >= len(ascending):
        return float(ascending[0])
    barred = ascending[len(ascending) - allowed - 1]  # the highest score that may not be called, nor its ties
    above = ascending[ascending > barred]
    return float(above[0]) if len(above) else _above(barred)


def _above(score: float) -> float:
    return float(np.nextafter(score, np.inf))


def _checked(positive: ArrayLike, score: ArrayLike, needed: str) -> tuple[np.ndarray, np.ndarray]:
    truth, values = np.asarray(positive, bool), np.asarray(score, np.float64)
    there = {"positives": truth.any(), "negatives": (~truth).any(), "rows": len(truth) > 0}[needed]
    if not there:
        raise ValueError(f"A threshold cannot be chosen: there are no {needed} among {len(truth)} rows.")
    if np.isnan(values).any():
        raise ValueError(f"A threshold cannot be chosen: {np.isnan(values).sum()} of {len(values)} scores are NaN.")
    return truth, values

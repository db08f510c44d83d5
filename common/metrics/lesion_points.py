"""The score from which a detection counts, and what detections are worth there."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from common.metrics.bootstrap import Statistic
from common.metrics.classification import weighted_mean
from common.metrics.lesion_tables import Counted


def choose_score_threshold(counted: Counted, false_positives: float) -> float:
    """Return the lowest score with at most so many false positives an image; above all scores where there is none."""
    allowed = counted.false.mean(0) <= false_positives
    best = float(counted.thresholds[allowed].min())
    return best if np.isfinite(best) else 1.0 + 1e-6


def statistics_at(counted: Counted, detections: pd.DataFrame, threshold: float) -> dict[str, Statistic]:
    """Return figures at one score as functions of weights (R, images).

    ``lesion_dice`` is the mean over all lesions, of which a missed one counts 0; ``found_dice`` that of the found ones;
    ``max_dice`` that of the best lesion, which the literature reports and which says little.

    Args:
        counted: from `common.metrics.lesion_tables.count`.
        detections: ``image``, ``score``, and ``dice`` of the lesion that it finds, NaN for none.
        threshold: a score.
    """
    column = min(int(np.searchsorted(counted.thresholds, threshold)), len(counted.thresholds) - 1)
    found, false, lesions = counted.found[:, column], counted.false[:, column], counted.lesions
    hits = detections[(detections["score"] >= threshold) & detections["dice"].notna()]
    by_image = (
        hits.groupby("image")["dice"].agg(["sum", "count", "max"]).reindex(counted.images).astype(float).fillna(0.0)
    )
    total, number, best = (by_image[name].to_numpy() for name in ("sum", "count", "max"))
    return {
        "sensitivity": partial(_share, found, lesions),
        "false_positives": partial(weighted_mean, false),
        "false_positives_lesion_free": partial(weighted_mean, np.where(lesions == 0, false, np.nan)),
        "lesion_dice": partial(_share, total, lesions),
        "found_dice": partial(_share, total, number),
        "max_dice": partial(_largest, best),
    }


def _share(part: np.ndarray, whole: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted sum of a part over that of the whole (R,)."""
    below = weights @ whole
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, (weights @ part) / below, np.nan)


def _largest(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.where(weights > 0, values, 0.0).max(1)

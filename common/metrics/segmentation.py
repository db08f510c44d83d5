"""Dice and IoU of masks per image, over a grid of thresholds, from areas alone.

Areas in pixels are all that the metrics need, so evaluation stores them in a table and any threshold can be
scored later without the pictures.
"""

from __future__ import annotations

import numpy as np

THRESHOLDS = np.round(np.arange(0.05, 0.96, 0.05), 2)


def mask_areas(
    probability: np.ndarray, truth: np.ndarray, thresholds: np.ndarray = THRESHOLDS
) -> tuple[int, np.ndarray, np.ndarray]:
    """Return the areas of the true mask, of the predicted mask and of their overlap at each threshold.

    Args:
        probability: of lesion, (H, W) in [0, 1].
        truth: bool (H, W).
        thresholds: ascending (T,); a pixel is predicted where its probability reaches the threshold.

    Returns:
        true area, predicted areas (T,), overlaps (T,), all in pixels.
    """
    level = np.searchsorted(thresholds.astype(np.float32), probability.ravel().astype(np.float32), side="right")
    levels = len(thresholds) + 1
    predicted = np.bincount(level, minlength=levels)
    overlap = np.bincount(level[truth.ravel()], minlength=levels)
    above = lambda counts: counts[::-1].cumsum()[::-1][1:]  # noqa: E731
    return int(truth.sum()), above(predicted), above(overlap)


def dice(overlap: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return 2 |A ∩ B| / (|A| + |B|) from areas; NaN where there is no lesion, 0 where a lesion is missed."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(true > 0, 2 * overlap / (predicted + true), np.nan)


def iou(overlap: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return |A ∩ B| / |A ∪ B| from areas; NaN where there is no lesion, 0 where a lesion is missed."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(true > 0, overlap / (predicted + true - overlap), np.nan)


def best_threshold(
    overlap: np.ndarray, predicted: np.ndarray, true: np.ndarray, thresholds: np.ndarray = THRESHOLDS
) -> float:
    """Return the threshold of best mean IoU over the images with a lesion.

    Args:
        overlap, predicted: areas (n, T).
        true: areas (n,).
        thresholds: (T,).

    Raises:
        ValueError: no image has a lesion.
    """
    if not (true > 0).any():
        raise ValueError("A threshold cannot be chosen: no image of this part has a lesion.")
    return float(thresholds[np.nanmean(iou(overlap, predicted, true[:, None]), axis=0).argmax()])


def dice_per_lesion(predicted: np.ndarray, true: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return the Dice of each lesion's mask with that of the detection which found it; 0 for a missed lesion.

    Args:
        predicted: masks of an image's detections, bool (N, H, W).
        true: masks of its lesions, bool (M, H, W).
        found: the lesion of each detection (N,), as `common.metrics.detection.match` gives it.

    Returns:
        (M,).
    """
    result = np.zeros(len(true))
    for mask, lesion in zip(predicted, found, strict=True):
        if lesion >= 0:
            overlap = np.logical_and(mask, true[lesion]).sum()
            result[lesion] = 2 * overlap / (mask.sum() + true[lesion].sum())
    return result

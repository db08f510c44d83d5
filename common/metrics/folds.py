"""Thresholds for out-of-fold predictions that no reported row had a say in."""

from __future__ import annotations

import pandas as pd

from common.metrics.tables import apply_threshold, choose_threshold


def nested_thresholds(predictions: pd.DataFrame, areas: pd.DataFrame) -> tuple[pd.DataFrame, dict[int, float]]:
    """Give each fold's masks the threshold that the out-of-fold masks of the **other** folds choose.

    Args:
        predictions: out-of-fold rows of all folds, with ``image`` and ``fold``.
        areas: the masks' areas by image and threshold.

    Returns:
        the predictions with the areas of their final masks, and the threshold of each fold.

    Raises:
        ValueError: there is only one fold.
    """
    folds = sorted(predictions["fold"].unique())
    if len(folds) < 2:
        raise ValueError("Thresholds can only be chosen on other folds where there are at least two.")
    home = predictions.set_index("image")["fold"]
    thresholds, parts = {}, []
    for fold in folds:
        thresholds[int(fold)] = choose_threshold(areas[areas["image"].map(home) != fold])
        parts.append(apply_threshold(predictions[predictions["fold"] == fold], areas, thresholds[int(fold)]))
    return pd.concat(parts, ignore_index=True), thresholds

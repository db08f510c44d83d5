"""Operating points for out-of-fold predictions that no reported row had a say in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from common.metrics.tables import apply_operating_point, choose_operating_point


def nested_operating_points(
    predictions: pd.DataFrame, areas: pd.DataFrame | None, classes: Sequence[str]
) -> tuple[pd.DataFrame, dict[int, dict[str, Any]]]:
    """Give each fold the operating point that the out-of-fold predictions of the **other** folds choose.

    Args:
        predictions: out-of-fold rows of all folds, with ``image`` and ``fold``.
        areas: the masks' areas by image and threshold, if there are masks.
        classes: class names.

    Returns:
        the predictions with their final calls and masks, and the operating point of each fold.

    Raises:
        ValueError: there is only one fold.
    """
    folds = sorted(predictions["fold"].unique())
    if len(folds) < 2:
        raise ValueError("Operating points can only be chosen on other folds where there are at least two.")
    points, parts = {}, []
    for fold in folds:
        here = predictions["fold"] == fold
        points[int(fold)] = choose_operating_point(predictions[~here], areas, classes)
        parts.append(apply_operating_point(predictions[here], areas, classes, points[int(fold)]))
    return pd.concat(parts, ignore_index=True), points

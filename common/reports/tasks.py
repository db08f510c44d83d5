"""What a report holds for each kind of predictions: scores by name, and figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from common.metrics import lesion_tables, two_class
from common.metrics.tables import has_classes, has_masks, lesion_dice, score
from common.metrics.two_class_points import apply_point, nested_points
from common.reports import figures
from common.reports import two_class as drawn
from common.reports.detection import froc_curves

Content = tuple[dict[str, Any], dict[str, Figure]]


def decided(
    table: pd.DataFrame,
    threshold: float | None,
    point: Mapping[str, Any] | None,
    nested: str | None,
    calibration: str | None,
    prevalence: float | None,
) -> pd.DataFrame:
    """Return a checked table with calibrated probabilities and the threshold of each row.

    Args:
        table: from `common.metrics.two_class.checked_table`.
        threshold: for all rows.
        point: an operating point instead.
        nested: a wish (`common.metrics.two_class_points.choose_point`) that each fold's others fulfil, instead.
        calibration: for ``nested``.
        prevalence: to carry a point's probabilities to.

    Raises:
        ValueError: more than one of threshold, point and nested, or no folds to nest over.
    """
    if sum(way is not None for way in (threshold, point, nested)) > 1:
        raise ValueError("Give one of --threshold, --operating_point and --nested.")
    if nested is None:
        fixed = {"threshold": 0.5 if threshold is None else threshold}
        return apply_point(table, fixed if point is None else point, prevalence)
    if "fold" not in table:
        raise ValueError(f"--nested needs a column 'fold'; there are {list(table.columns)}.")
    return nested_points(table, wish=nested, calibration=calibration)[0]


def binary(table: pd.DataFrame, group: str, rule: str, resamples: int) -> Content:
    """Score a decided table of one probability: images, breasts, patients, subgroups."""
    levels = two_class.score_levels(table, group, rule, resamples)
    parts, scores = two_class.subgroups(table, group, resamples=resamples), levels["image"]
    pictures: dict[str, Figure] = {}
    if table[two_class.POSITIVE].nunique() == 2:
        pictures = {
            "roc": drawn.roc(table, group, scores),
            "precision_recall": drawn.precision_recall(table, scores),
            "reliability": drawn.reliability_curve(table, scores),
            "confusion": drawn.confusion_of_calls(table),
            "histograms": drawn.histograms(table),
        }
    if parts:
        pictures["subgroups"] = drawn.forest(parts, scores["roc_auc"])
    return {"threshold": drawn.in_use(table), "rule": rule, **levels, "subgroups": parts}, pictures


def classes(table: pd.DataFrame, group: str, resamples: int) -> Content:
    """Score a table of several classes, with or without masks, as the bundles write them."""
    lacks = [name for name in ("image", "label") if name not in table]
    names = [column.removeprefix("p_") for column in map(str, table) if column.startswith("p_")]
    if lacks or table.empty:
        raise ValueError(f"The table lacks the columns {lacks}, or rows; it has {list(table.columns)}.")
    table, pictures = table.assign(group_id=table[group]), {}
    if has_classes(table):
        pictures = {"roc_curves": figures.roc_curves(table, names), "confusion": figures.confusion(table, names)}
    return {"image": score(table, names, resamples)}, pictures


def segmentation(table: pd.DataFrame, group: str, resamples: int) -> Content:
    """Score a table of the areas ``true_px, predicted_px, overlap_px`` of each image's masks."""
    lacks = [name for name in ("true_px", "predicted_px", "overlap_px") if name not in table]
    if lacks or table.empty:
        raise ValueError(f"The table lacks the columns {lacks}, or rows; it has {list(table.columns)}.")
    assert has_masks(table)
    bare = table.drop(columns="predicted", errors="ignore").assign(group_id=table[group])
    return {"image": score(bare, [], resamples)}, {"dice": figures.histogram(lesion_dice(bare), "Dice of a lesion")}


def detection(table: pd.DataFrame, lesions: pd.DataFrame, group: str, resamples: int) -> Content:
    """Score a table of boxes with scores against one of lesions (`common.metrics.lesion_tables`)."""
    lesion_tables.checked_tables(lesions, table)
    lesions, table = (one.assign(image=one["image"].astype(str)) for one in (lesions, table))  # 7 and "7" are one image
    counted = lesion_tables.count(lesions, table, group)
    content = {"image": lesion_tables.score(counted, resamples)}
    precision = lesion_tables.box_average_precision(lesions, table)
    return {**content, "box_average_precision": precision}, {"froc": froc_curves({"detections": counted})}

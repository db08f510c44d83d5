"""Score a table of detections from anywhere against a table of lesions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from common.metrics.bootstrap import Estimate, Statistic, estimates
from common.metrics.classification import weighted_mean
from common.metrics.detection import RATES, Criterion, coco_average_precision, counts_per_image, match, sensitivity_at

BOX = ["x1", "y1", "x2", "y2"]
STEPS = 512  # thresholds that a curve has at most


@dataclass(frozen=True)
class Counted:
    """Lesions found and false positives (images, T) at each threshold (T,), and how many lesions each image has."""

    images: list[str]
    groups: list[str]
    found: np.ndarray
    false: np.ndarray
    thresholds: np.ndarray
    lesions: np.ndarray


def checked_tables(lesions: pd.DataFrame, detections: pd.DataFrame) -> None:
    """Refuse tables that cannot be scored.

    Args:
        lesions: ``image, x1, y1, x2, y2``, a row per lesion; an image without one has one row with empty coordinates.
        detections: ``image, x1, y1, x2, y2, score``, a row per detection.

    Raises:
        ValueError: columns are missing, a box ends before it starts, a score is missing, or an image is unknown.
    """
    for name, table, wanted in (
        ("lesions", lesions, ["image", *BOX]),
        ("detections", detections, ["image", *BOX, "score"]),
    ):
        lacks = [column for column in wanted if column not in table]
        if lacks:
            raise ValueError(f"The table of {name} lacks the columns {lacks}; it has {list(table.columns)}.")
        boxes = table[BOX].apply(pd.to_numeric, errors="coerce")
        wrong = (boxes["x2"] < boxes["x1"]) | (boxes["y2"] < boxes["y1"])
        wrong |= boxes.isna().any(axis=1) & ~(boxes.isna().all(axis=1) & (name == "lesions"))
        if wrong.any():
            first = table["image"][wrong].iloc[0]
            raise ValueError(f"{wrong.sum()} boxes of {name} are none, such as that of {first}.")
    if lesions.empty:
        raise ValueError("There are no images in the table of lesions.")
    if pd.to_numeric(detections["score"], errors="coerce").isna().any():
        raise ValueError("Some detections have no number for 'score'. Mend the table.")
    strangers = sorted(set(detections["image"].astype(str)) - set(lesions["image"].astype(str)))
    if strangers:
        raise ValueError(
            f"{len(strangers)} images with detections are not in the table of lesions, such as {strangers[0]}. "
            "Give images without a lesion a row with empty coordinates there."
        )


def count(
    lesions: pd.DataFrame, detections: pd.DataFrame, group: str, criterion: Criterion = "iou", least: float = 0.2
) -> Counted:
    """Match the detections of each image with its lesions, and count at every threshold."""
    by_image = dict(list(detections.groupby("image")))
    images, scores, matched, numbers, groups = [], [], [], [], []
    for name, rows in lesions.groupby("image", sort=True):
        found = by_image.get(name, detections.iloc[:0])
        boxes = rows[BOX].dropna().to_numpy(float)
        images.append(str(name))
        groups.append(str(rows[group].iloc[0]))
        scores.append(found["score"].to_numpy(float))
        matched.append(match(found[BOX].to_numpy(float), scores[-1], boxes, criterion, least))
        numbers.append(len(boxes))
    every = np.unique(np.concatenate(scores))
    grid = np.quantile(every, np.linspace(0, 1, STEPS), method="nearest") if len(every) > STEPS else every
    grid = np.append(np.unique(grid), np.inf)
    return Counted(images, groups, *counts_per_image(scores, matched, grid), grid, np.array(numbers, float))


def statistics(counted: Counted) -> dict[str, Statistic]:
    """Return the sensitivities of the FROC curve, and alarms on lesion-free images, as functions of weights."""
    parts = (counted.found, counted.false, counted.lesions)
    healthy = np.where(counted.lesions == 0, counted.false[:, 0] > 0, np.nan)
    return {
        **{f"sensitivity_at_{rate:g}": partial(_at, rate, parts) for rate in RATES},
        "lesion_free_images_with_a_detection": partial(weighted_mean, healthy),
    }


def _at(rate: float, parts: tuple[np.ndarray, np.ndarray, np.ndarray], weights: np.ndarray) -> np.ndarray:
    return sensitivity_at(rate, *parts, weights)


def score(counted: Counted, resamples: int = 2000) -> dict[str, Estimate]:
    """Return every figure of a FROC analysis with its interval over groups."""
    return estimates(statistics(counted), counted.groups, resamples)


def box_average_precision(lesions: pd.DataFrame, detections: pd.DataFrame) -> dict[str, float]:
    """Return COCO's average precision of the boxes, without an interval."""
    images = sorted(lesions["image"].unique())
    size = tuple(int(lesions[BOX].max().max(skipna=True) or 1) + 1 for _ in range(2))
    there, found = (dict(list(t.dropna(subset=BOX).groupby("image"))) for t in (lesions, detections))
    truths, guesses = [], []
    for name in images:
        boxes = there[name][BOX].to_numpy(float) if name in there else np.zeros((0, 4))
        rows = found.get(name, detections.iloc[:0])
        truths.append({"size": size, "boxes": boxes, "labels": [1] * len(boxes)})
        values = {"boxes": rows[BOX].to_numpy(float), "scores": rows["score"].to_numpy(float)}
        guesses.append({"size": size, **values, "labels": [1] * len(rows)})
    return coco_average_precision(truths, guesses)

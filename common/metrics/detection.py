"""Lesions found and false alarms: matching, FROC, and average precision by COCO's definition.

Boxes are (x1, y1, x2, y2) in pixels; scores are (n,), higher is surer. Detections count per image, lesions each.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from common.metrics.classification import as_weights

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)  # false positives an image
Criterion = Literal["iou", "centre"]


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection over union (N, M) of boxes (N, 4) and (M, 4)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1), 0.0)


def match(
    boxes: ArrayLike, scores: ArrayLike, lesions: ArrayLike, criterion: Criterion = "iou", least: float = 0.2
) -> np.ndarray:
    """Return which lesion each detection of an image finds (N,), -1 for none.

    Detections are taken in the order of their scores, and each lesion is found once; a second detection of the same
    lesion is neither a hit nor a false positive, and gets -2.

    Args:
        boxes: detections (N, 4).
        scores: (N,).
        lesions: (M, 4).
        criterion: a lesion is found by a box that overlaps it ("iou", at least ``least``), or whose centre lies in it
            ("centre").
        least: of the overlap.
    """
    found_by, at = np.asarray(boxes, float).reshape(-1, 4), np.asarray(lesions, float).reshape(-1, 4)
    result = np.full(len(found_by), -1)
    if not len(at) or not len(found_by):
        return result
    closeness = box_iou(found_by, at) if criterion == "iou" else _centred(found_by, at)
    taken = np.zeros(len(at), bool)
    for row in np.argsort(-np.asarray(scores, float), kind="stable"):
        hits = closeness[row] >= (least if criterion == "iou" else 1)
        if (hits & ~taken).any():
            result[row] = np.where(hits & ~taken, closeness[row], -1).argmax()
            taken[result[row]] = True
        elif hits.any():
            result[row] = -2
    return result


def _centred(boxes: np.ndarray, lesions: np.ndarray) -> np.ndarray:
    centre = ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None]
    return ((centre >= lesions[None, :, :2]) & (centre <= lesions[None, :, 2:])).all(2).astype(float)


def counts_per_image(
    scores: Sequence[ArrayLike], matched: Sequence[ArrayLike], thresholds: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Return the lesions found and the false positives of each image at each threshold: two arrays (images, T)."""
    grid = np.asarray(thresholds, float)
    found, false = np.zeros((2, len(scores), len(grid)))
    for row, (score, lesion) in enumerate(zip(scores, matched, strict=True)):
        shown = np.asarray(score, float)[:, None] >= grid
        found[row] = (shown & (np.asarray(lesion) >= 0)[:, None]).sum(0)
        false[row] = (shown & (np.asarray(lesion) == -1)[:, None]).sum(0)
    return found, false


def froc(
    found: np.ndarray, false: np.ndarray, lesions: ArrayLike, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return false positives an image, and sensitivity, at each threshold: two arrays (R, T).

    Args:
        found: lesions found (images, T).
        false: false positives (images, T).
        lesions: how many each image has (images,).
        weights: (R, images).
    """
    used = as_weights(weights, len(found))
    there = used @ np.asarray(lesions, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity = np.where(there > 0, (used @ found).T / there, np.nan).T
        return (used @ false) / used.sum(1, keepdims=True), sensitivity


def sensitivity_at(
    rate: float, found: np.ndarray, false: np.ndarray, lesions: ArrayLike, weights: np.ndarray | None = None
) -> np.ndarray:
    """Return the best sensitivity (R,) among the thresholds with at most ``rate`` false positives an image."""
    alarms, sensitivity = froc(found, false, lesions, weights)
    best = np.where(alarms <= rate, sensitivity, -np.inf).max(1)
    return np.where(np.isfinite(best), best, np.where(np.isnan(sensitivity[:, 0]), np.nan, 0.0))


def coco_average_precision(
    truths: Sequence[Mapping[str, Any]], detections: Sequence[Mapping[str, Any]], kind: Literal["bbox", "segm"] = "bbox"
) -> dict[str, float]:
    """Return COCO's average precision over IoU .5 to .95 (``ap``), at .5 and at .75, by its own library.

    Args:
        truths: per image ``size`` (H, W), ``boxes`` (N, 4), ``labels`` (N,), and, for "segm", ``masks`` bool (N, H, W)
            or ``segments`` (`encoded`).
        detections: per image the same for what was detected, with ``scores`` (N,).
        kind: of overlap.

    Returns:
        NaN where there is no lesion at all.

    Source: Lin et al., Microsoft COCO (2014); pycocotools.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    known, guessed = (_annotations(items, kind) for items in (truths, detections))
    if not known:
        return dict.fromkeys(("ap", "ap50", "ap75"), float("nan"))
    if not guessed:
        return dict.fromkeys(("ap", "ap50", "ap75"), 0.0)
    coco = COCO()
    images = [{"id": n, "height": t["size"][0], "width": t["size"][1]} for n, t in enumerate(truths)]
    labels = sorted({a["category_id"] for a in known})
    coco.dataset = {"images": images, "annotations": known, "categories": [{"id": n} for n in labels]}
    with contextlib.redirect_stdout(io.StringIO()):  # the library prints its tables
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(guessed), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(("ap", "ap50", "ap75"), (float(v) for v in evaluation.stats[:3]), strict=True))


def encoded(masks: np.ndarray) -> list[dict[str, Any]]:
    """Return masks (N, H, W) as COCO's run lengths."""
    from pycocotools import mask as rle

    return [rle.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in masks]


def _annotations(items: Sequence[Mapping[str, Any]], kind: str) -> list[dict[str, Any]]:
    from pycocotools import mask as rle

    found: list[dict[str, Any]] = []
    for image, item in enumerate(items):
        boxes = np.asarray(item["boxes"], float).reshape(-1, 4)
        segments: Any = [] if kind == "bbox" else item["segments"] if "segments" in item else encoded(item["masks"])
        for row, (x1, y1, x2, y2) in enumerate(boxes):
            one: dict[str, Any] = {
                "id": len(found) + 1,
                "image_id": image,
                "category_id": int(item["labels"][row]),
                "iscrowd": 0,
            }
            one |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
            if kind == "segm":
                one["segmentation"] = segments[row]
                one["area"] = float(rle.area(one["segmentation"]))
            if "scores" in item:
                one["score"] = float(item["scores"][row])
            found.append(one)
    return found

"""Score a table of predictions: every figure of a report comes from here.

``predictions.csv`` has a row per image: ``image, group_id`` (or ``patient_id``), ``split, fold, label``,
``p_<class>`` for each class, ``predicted``, ``raw_<class>`` where the probabilities were calibrated, and ``true_px,
predicted_px, overlap_px`` of the final mask. ``mask_areas.csv`` has a row per image and threshold: ``image,
threshold, true_px, predicted_px, overlap_px`` of the mask before the class has its say. Columns of a task that a
network lacks are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from common.metrics.bootstrap import Estimate, Statistic, estimate
from common.metrics.calibration import calibrated_classes, fit_class_calibration
from common.metrics.classification import accuracy, balanced_accuracy, macro_auc, roc_auc, weighted_mean
from common.metrics.decisions import LESION_FREE, OperatingPoint, call_classes, mask_threshold
from common.metrics.segmentation import best_threshold, dice, iou


def has_classes(predictions: pd.DataFrame) -> bool:
    """Tell whether the table carries class probabilities."""
    return "predicted" in predictions


def has_masks(predictions: pd.DataFrame) -> bool:
    """Tell whether the table carries masks."""
    return "predicted_px" in predictions


def class_probabilities(predictions: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    """Return the probabilities (n, C) in a table of predictions."""
    return predictions[[f"p_{name}" for name in classes]].to_numpy(float)


def mask_grid(areas: pd.DataFrame, images: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return true areas (n,), predicted areas (n, T), overlaps (n, T) of the images, and the thresholds (T,)."""
    wide = areas.pivot(index="image", columns="threshold", values=["true_px", "predicted_px", "overlap_px"])
    wide = wide.loc[list(images)]
    grid = wide["overlap_px"].columns.to_numpy(float)
    return wide["true_px"].to_numpy()[:, 0], wide["predicted_px"].to_numpy(), wide["overlap_px"].to_numpy(), grid


def calibrate(predictions: pd.DataFrame, classes: Sequence[str], point: OperatingPoint | None) -> pd.DataFrame:
    """Return a table whose ``p_<class>`` are calibrated as an operating point says, from the network's own.

    The network's own stand in ``raw_<class>`` afterwards, so that another calibration can always replace this one.
    """
    if f"p_{classes[0]}" not in predictions or (point or {}).get("calibration") is None:
        return predictions
    names = [f"raw_{name}" if f"raw_{name}" in predictions else f"p_{name}" for name in classes]
    own = predictions[names].to_numpy(float)
    wanted = calibrated_classes(own, point["calibration"])  # type: ignore[index]
    columns = {f"raw_{name}": own[:, i] for i, name in enumerate(classes)}
    return predictions.assign(**{f"p_{name}": wanted[:, i] for i, name in enumerate(classes)}, **columns)


def _truth(predictions: pd.DataFrame, classes: Sequence[str]) -> np.ndarray:
    return predictions["label"].map({name: i for i, name in enumerate(classes)}).to_numpy()


MAX_FALSE_MASKS = 0.1  # of the lesion-free images that an operating point is chosen on


def choose_operating_point(
    predictions: pd.DataFrame, areas: pd.DataFrame | None, classes: Sequence[str], minimum: int = 50
) -> dict[str, Any]:
    """Return the operating point that these images suggest: to be applied to images they do not hold.

    The class probabilities get a calibration by temperature. The mask's threshold is that of best mean IoU over the
    lesions. The threshold for 'lesion-free' is then the one
    of best mean Dice over the lesions among those that leave a mask on at most ``MAX_FALSE_MASKS`` of the lesion-free
    images, where the table has both. On fewer than ``minimum`` lesion-free images that share is too coarse to choose
    by, and the most probable class is kept.
    """
    point: dict[str, Any] = {"mask_threshold": None, "normal_threshold": None}
    if has_classes(predictions):
        raw = calibrate(predictions, classes, {"calibration": {"kind": "temperature", "temperature": 1.0}})
        point["calibration"] = fit_class_calibration(_truth(raw, classes), class_probabilities(raw, classes))
        predictions = calibrate(raw, classes, point)
    if areas is None:
        return point
    true, predicted, overlap, grid = mask_grid(areas, list(predictions["image"]))
    point["mask_threshold"] = best_threshold(overlap, predicted, true, grid)
    if not has_classes(predictions) or (true == 0).sum() < max(minimum, 1):
        return point
    probabilities = class_probabilities(predictions, classes)[:, list(classes).index(LESION_FREE)]
    column = int(np.abs(grid - point["mask_threshold"]).argmin())
    candidates = np.round(np.arange(0.05, 1.0, 0.05), 2)
    kept = probabilities[:, None] < candidates  # (n, candidates)
    lesion, drawn = true > 0, predicted[:, column] > 0
    gain = (dice(overlap[:, column], predicted[:, column], true)[:, None] * kept)[lesion].mean(0)
    false = (drawn[:, None] & kept)[~lesion].mean(0)
    allowed = false <= max(MAX_FALSE_MASKS, false.min())
    best = candidates[allowed & np.isclose(gain, gain[allowed].max())]
    return {**point, "normal_threshold": float(best[len(best) // 2])}  # the middle of a plateau


def apply_operating_point(
    predictions: pd.DataFrame, areas: pd.DataFrame | None, classes: Sequence[str], point: OperatingPoint | None
) -> pd.DataFrame:
    """Return the predictions, calibrated, with what each image is called, and with the areas of its final mask; the
    mask of an image that is called lesion-free is empty."""
    table = calibrate(predictions, classes, point).copy()
    kept: np.ndarray | bool = True
    if f"p_{classes[0]}" in table:
        table["predicted"] = call_classes(class_probabilities(table, classes), classes, point)
        kept = (table["predicted"] != LESION_FREE).to_numpy()
    if areas is None:
        return table
    true, predicted, overlap, grid = mask_grid(areas, list(table["image"]))
    column = int(np.abs(grid - mask_threshold(point)).argmin())
    if not np.isclose(grid[column], mask_threshold(point)):
        raise ValueError(f"Threshold {mask_threshold(point)} is not among {list(grid)}.")
    return table.assign(true_px=true, predicted_px=predicted[:, column] * kept, overlap_px=overlap[:, column] * kept)


def lesion_dice(table: pd.DataFrame) -> np.ndarray:
    """Return the Dice of each row's final mask; NaN without a lesion, 0 for a missed one."""
    return dice(*(table[f"{name}_px"].to_numpy(float) for name in ("overlap", "predicted", "true")))


def lesion_iou(table: pd.DataFrame) -> np.ndarray:
    """Return the IoU of each row's final mask; NaN without a lesion, 0 for a missed one."""
    return iou(*(table[f"{name}_px"].to_numpy(float) for name in ("overlap", "predicted", "true")))


def score(predictions: pd.DataFrame, classes: Sequence[str], resamples: int = 2000) -> dict[str, Estimate]:
    """Return every metric that the table allows, with its interval over groups.

    Mask metrics: ``dice``, ``iou`` and ``missed_lesions`` over the images with a lesion, ``false_masks`` (share
    of lesion-free images with any predicted pixel). Class metrics: ``accuracy``, ``balanced_accuracy``,
    ``macro_auc`` (one against rest), ``auc_malignant`` (the malignant class or classes against all others).
    """
    masks = _mask_statistics(predictions) if has_masks(predictions) else {}
    named = _class_statistics(predictions, classes) if has_classes(predictions) else {}
    return {
        name: estimate(statistic, list(rows["group_id" if "group_id" in rows else "patient_id"]), resamples)
        for name, (rows, statistic) in {**masks, **named}.items()
        if len(rows)
    }


def _mask_statistics(table: pd.DataFrame) -> Mapping[str, tuple[pd.DataFrame, Statistic]]:
    lesions, healthy = table[table["true_px"] > 0], table[table["true_px"] == 0]
    return {
        "dice": (lesions, partial(weighted_mean, lesion_dice(lesions))),
        "iou": (lesions, partial(weighted_mean, lesion_iou(lesions))),
        "missed_lesions": (lesions, partial(weighted_mean, lesions["overlap_px"].to_numpy() == 0)),
        "false_masks": (healthy, partial(weighted_mean, healthy["predicted_px"].to_numpy() > 0)),
    }


def _class_statistics(table: pd.DataFrame, classes: Sequence[str]) -> Mapping[str, tuple[pd.DataFrame, Statistic]]:
    truth = _truth(table, classes)
    predicted = table["predicted"].map({name: i for i, name in enumerate(classes)}).to_numpy()
    probabilities = class_probabilities(table, classes)
    found: dict[str, tuple[pd.DataFrame, Statistic]] = {
        "accuracy": (table, partial(accuracy, truth, predicted)),
        "balanced_accuracy": (table, partial(balanced_accuracy, truth, predicted)),
        "macro_auc": (table, partial(macro_auc, truth, probabilities)),
    }
    malignant = [i for i, name in enumerate(classes) if name.startswith("malignant")]
    if malignant:
        probability = probabilities[:, malignant].sum(1)
        found["auc_malignant"] = (table, partial(roc_auc, np.isin(truth, malignant), probability))
    return found


def metrics_table(scores: Mapping[str, Estimate]) -> pd.DataFrame:
    """Return scores as a table: metric, value, low, high, n, groups."""
    rows = [{"metric": k, **vars(v)} for k, v in scores.items()]
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n", "groups"])


def readable(scores: Mapping[str, Estimate]) -> str:
    """Return scores as lines of text: metric, value [95 % interval], n and groups."""
    lines = [f"{name.replace('_', ' '):<26} {found}, {found.groups} groups" for name, found in scores.items()]
    return "\n".join(["metric                     value [95 % interval]", *lines])

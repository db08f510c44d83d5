"""Score a table of predictions: every figure of a report comes from here.

``predictions.csv`` has a row per image: ``image, group_id, split, fold, label``, ``p_<class>`` for each class,
``predicted``, and ``true_px, predicted_px, overlap_px`` of the final mask. ``mask_areas.csv`` has a row per
image and threshold: ``image, threshold, true_px, predicted_px, overlap_px`` of the mask before the class has
its say. Columns of a task that a network lacks are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from common.metrics.bootstrap import Estimate, Statistic, estimate
from common.metrics.classification import accuracy, balanced_accuracy, macro_auc, roc_auc, weighted_mean
from common.metrics.segmentation import best_threshold, dice, iou

LESION_FREE = "normal"


def has_classes(predictions: pd.DataFrame) -> bool:
    """Tell whether the table carries class probabilities."""
    return "predicted" in predictions


def has_masks(predictions: pd.DataFrame) -> bool:
    """Tell whether the table carries masks."""
    return "predicted_px" in predictions


def choose_threshold(areas: pd.DataFrame) -> float:
    """Return the threshold of best mean IoU in a table of mask areas."""
    wide = areas.pivot(index="image", columns="threshold", values=["true_px", "predicted_px", "overlap_px"])
    true = wide["true_px"].to_numpy()[:, 0]
    grid = wide["overlap_px"].columns.to_numpy(float)
    return best_threshold(wide["overlap_px"].to_numpy(), wide["predicted_px"].to_numpy(), true, grid)


def apply_threshold(predictions: pd.DataFrame, areas: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return the predictions with the areas of the final mask at ``threshold``; a mask of an image that is
    called lesion-free is empty."""
    near = areas[np.isclose(areas["threshold"], threshold)].set_index("image")
    if near.empty:
        raise ValueError(f"Threshold {threshold} is not among {sorted(areas['threshold'].unique())}.")
    chosen = near.loc[predictions["image"]]
    kept = (predictions["predicted"] != LESION_FREE).to_numpy() if has_classes(predictions) else True
    return predictions.assign(
        true_px=chosen["true_px"].to_numpy(),
        predicted_px=chosen["predicted_px"].to_numpy() * kept,
        overlap_px=chosen["overlap_px"].to_numpy() * kept,
    )


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
    ``macro_auc`` (one against rest), ``auc_malignant`` (malignant against all others).
    """
    masks = _mask_statistics(predictions) if has_masks(predictions) else {}
    named = _class_statistics(predictions, classes) if has_classes(predictions) else {}
    return {
        name: estimate(statistic, list(rows["group_id"]), resamples)
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
    truth = table["label"].map({name: i for i, name in enumerate(classes)}).to_numpy()
    predicted = table["predicted"].map({name: i for i, name in enumerate(classes)}).to_numpy()
    probabilities = table[[f"p_{name}" for name in classes]].to_numpy(float)
    found: dict[str, tuple[pd.DataFrame, Statistic]] = {
        "accuracy": (table, partial(accuracy, truth, predicted)),
        "balanced_accuracy": (table, partial(balanced_accuracy, truth, predicted)),
        "macro_auc": (table, partial(macro_auc, truth, probabilities)),
    }
    if "malignant" in classes:
        malignant = classes.index("malignant")
        found["auc_malignant"] = (table, partial(roc_auc, truth == malignant, probabilities[:, malignant]))
    return found


def metrics_table(scores: Mapping[str, Estimate]) -> pd.DataFrame:
    """Return scores as a table: metric, value, low, high, n, groups."""
    rows = [{"metric": k, **vars(v)} for k, v in scores.items()]
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high", "n", "groups"])


def readable(scores: Mapping[str, Estimate]) -> str:
    """Return scores as lines of text: metric, value [95 % interval], n and groups."""
    lines = [f"{name.replace('_', ' '):<18} {found}, {found.groups} groups" for name, found in scores.items()]
    return "\n".join(["metric             value [95 % interval]", *lines])

"""Operating points of two-class predictions: a calibration and a threshold, chosen on other data than they serve.

An operating point is a dictionary that JSON can hold, kept beside the weights: ``calibration``
(`common.metrics.calibration`) of each image's probability, ``level`` and ``rule`` by which calibrated images become
one unit (`common.metrics.aggregation`), ``threshold`` from which a unit is called positive, and ``prevalence``, the
share of positive images that the calibration was fitted at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from common.metrics import operating
from common.metrics.aggregation import aggregate, is_known
from common.metrics.calibration import at_prevalence, calibrated, fit_calibration
from common.metrics.two_class import POSITIVE, PROBABILITY, THRESHOLD

RAW = "raw_probability"
WISHES = ("fixed", "best_f1", "sensitivity", "specificity", "recall_rate")
USUAL = ("fixed=.5", "best_f1", "sensitivity=.9", "specificity=.9", "recall_rate=.1")
TwoClassPoint = Mapping[str, Any]


def choose_point(
    table: pd.DataFrame,
    level: str = "image",
    rule: str = "mean",
    wish: str = "best_f1",
    calibration: str | None = "temperature",
) -> dict[str, Any]:
    """Return the operating point that these rows suggest: to be applied to rows of other patients.

    Args:
        table: a row per image with ``positive`` and ``probability`` (or ``raw_probability``, which then counts).
        level, rule: of the units that are called; an absent breast or patient makes it the image.
        wish: "best_f1", or "sensitivity=.9", "specificity=.9", "recall_rate=.1" or "fixed=.5"; the point keeps the
            thresholds of these five as well, so that one can be changed for another.
        calibration: "temperature", "platt", "isotonic" or None.

    Raises:
        ValueError: an unknown wish, or rows of one class only.
    """
    own = table.assign(**{PROBABILITY: table[RAW] if RAW in table else table[PROBABILITY]})
    fitted = fit_calibration(own[POSITIVE], own[PROBABILITY], calibration) if calibration else None
    level = level if is_known(table, level) else "image"
    point = {"calibration": fitted, "level": level, "rule": rule, "wish": wish, "n": len(table)}
    prevalence = float(own[POSITIVE].mean())
    units = own.assign(**{PROBABILITY: calibrated(own[PROBABILITY], fitted)})
    if level != "image":
        units = aggregate(units, level, rule)
    thresholds = {name: _threshold(units, name) for name in dict.fromkeys([*USUAL, wish])}
    return {**point, "prevalence": prevalence, "threshold": thresholds[wish], "thresholds": thresholds}


def with_wish(point: TwoClassPoint, wish: str | None) -> TwoClassPoint:
    """Return an operating point with the threshold of another wish.

    Raises:
        ValueError: that threshold was not chosen when the point was.
    """
    if wish is None or wish == point.get("wish") or "wish" not in point:  # points of several classes have none
        return point
    known = point.get("thresholds", {})
    if wish not in known:
        raise ValueError(f"This operating point has no threshold for '{wish}', but for {list(known)}.")
    return {**point, "wish": wish, "threshold": known[wish]}


def _threshold(units: pd.DataFrame, wish: str) -> float:
    truth, score = units[POSITIVE].to_numpy(bool), units[PROBABILITY].to_numpy(float)
    name, _, value = wish.partition("=")
    if name not in WISHES or (name == "best_f1") == bool(value):
        raise ValueError(f"Unknown wish '{wish}' for a threshold: best_f1, sensitivity=.9, specificity=.9, …")
    if name == "fixed":
        return float(value)
    if name == "best_f1":
        return operating.best_f1_threshold(truth, score)
    if name == "recall_rate":
        return operating.threshold_at_recall_rate(score, float(value))
    choose = {"sensitivity": operating.threshold_at_sensitivity, "specificity": operating.threshold_at_specificity}
    return choose[name](truth, score, float(value))


def apply_point(table: pd.DataFrame, point: TwoClassPoint | None, prevalence: float | None = None) -> pd.DataFrame:
    """Return the rows with calibrated probabilities, the network's own as ``raw_probability``, and the threshold.

    Args:
        table: a row per image, as `choose_point` takes it.
        point: without one, probabilities stay and the threshold is .5.
        prevalence: carry the probabilities (and the threshold) from that of the point to this one.

    Raises:
        ValueError: a prevalence is wished for, and the point does not say its own.
    """
    if prevalence is not None and (point or {}).get("prevalence") is None:
        raise ValueError("--prevalence needs an operating point that says at which prevalence it was fitted.")
    own = np.asarray(table[RAW] if RAW in table else table[PROBABILITY], float)
    found, threshold = calibrated(own, (point or {}).get("calibration")), float((point or {}).get("threshold", 0.5))
    if point is not None and prevalence is not None:
        found = at_prevalence(found, point["prevalence"], prevalence)
        threshold = float(at_prevalence(np.array(threshold), point["prevalence"], prevalence))
    columns: dict[str, Any] = {RAW: own, PROBABILITY: found, THRESHOLD: threshold}
    return table.assign(**columns)


def nested_points(table: pd.DataFrame, **wishes: Any) -> tuple[pd.DataFrame, dict[int, dict[str, Any]]]:
    """Give each fold the operating point that the rows of the **other** folds choose.

    Args:
        table: out-of-fold rows with ``fold``.
        wishes: of `choose_point`.

    Raises:
        ValueError: there is only one fold.
    """
    folds = sorted(table["fold"].unique())
    if len(folds) < 2:
        raise ValueError("Operating points can only be chosen on other folds where there are at least two.")
    points = {int(fold): choose_point(table[table["fold"] != fold], **wishes) for fold in folds}
    parts = [apply_point(table[table["fold"] == fold], points[int(fold)]) for fold in folds]
    return pd.concat(parts, ignore_index=True), points

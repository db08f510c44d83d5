"""From images to abnormalities, breasts and patients: one row, one probability and one truth for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

LEVELS = {
    "image": ("image",),
    "abnormality": ("case",),  # of one mammogram, of which there may be several patches
    "breast": ("patient_id", "laterality"),
    "patient": ("patient_id",),
}
UNIT_FILES = {"abnormality": "abnormalities.csv", "breast": "breasts.csv", "patient": "patients.csv"}
RULES: dict[str, str | Callable[[pd.Series], float]] = {
    "mean": "mean",
    "max": "max",
    "noisy_or": lambda p: float(1 - np.prod(1 - p)),  # positive if any is, were they independent
}


def is_known(predictions: pd.DataFrame, level: str) -> bool:
    """Tell whether every row says which unit of a level it belongs to."""
    return all(key in predictions and predictions[key].notna().all() for key in LEVELS[level])


def aggregate(
    predictions: pd.DataFrame, level: str, rule: str = "mean", probability: str = "probability", truth: str = "positive"
) -> pd.DataFrame:
    """Return one row per image, abnormality, breast or patient of a table of predictions.

    Args:
        predictions: a row per image, with ``patient_id`` (and ``laterality``), a probability and a truth (bool).
        level: a key of ``LEVELS``.
        rule: how the probabilities of a unit become one: "mean", "max" or "noisy_or".
        probability: its column.
        truth: its column; a unit is positive where any of its images is.

    Returns:
        the unit's identifiers, ``images``, probability and truth, and every column that is the same throughout.

    Raises:
        ValueError: an unknown level or rule, or identifiers are missing.
    """
    if level not in LEVELS or rule not in RULES:
        raise ValueError(f"Unknown level '{level}' or rule '{rule}': choose from {list(LEVELS)} and {list(RULES)}.")
    keys = list(LEVELS[level])
    missing = [key for key in keys if key not in predictions or predictions[key].isna().any()]
    if missing:
        raise ValueError(f"Predictions cannot be joined by {level}: {missing} is missing, or empty in some rows.")
    units: Any = predictions.groupby(keys, sort=False)
    joined = units.agg(
        **{"images": (probability, "size"), probability: (probability, RULES[rule]), truth: (truth, "any")}
    )
    return joined.join(units[_constant(predictions, units, keys, (probability, truth))].first()).reset_index()


def _constant(predictions: pd.DataFrame, units: Any, keys: Sequence[str], used: Sequence[str]) -> list[str]:
    """Return the columns that have one value within every unit."""
    others = [column for column in map(str, predictions) if column not in (*keys, *used)]
    varied = units[others].nunique(dropna=False).max() if others else pd.Series(dtype=int)
    return [column for column in others if varied[column] <= 1]

"""Compare two models, or two protocols, by their tables of predictions: the difference with its interval."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from common.metrics.bootstrap import Estimate, difference, estimate
from common.metrics.classification import weighted_mean
from common.metrics.tables import lesion_dice, lesion_iou
from common.reports.errors import run_command

PER_IMAGE: dict[str, Callable[[pd.DataFrame], np.ndarray]] = {
    "dice": lesion_dice,
    "iou": lesion_iou,
    "false_masks": lambda t: np.where(t["true_px"] == 0, t["predicted_px"] > 0, np.nan),
    "missed_lesions": lambda t: np.where(t["true_px"] > 0, t["overlap_px"] == 0, np.nan),
    "accuracy": lambda t: (t["label"] == t["predicted"]).to_numpy(float),
}


def compare_predictions(first: str, second: str, metric: str = "dice", paired: bool = True) -> None:
    """Print first - second of a metric that is a mean over images.

    Args:
        first: one predictions.csv, or several joined by commas (seeds), pooled.
        second: the same for what it is compared with.
        metric: dice, iou, false_masks, missed_lesions or accuracy.
        paired: the tables hold the same images: resample their groups together. Otherwise each on its own.
    """
    if metric not in PER_IMAGE:
        raise ValueError(f"--metric is one of {sorted(PER_IMAGE)}, not '{metric}'.")
    one, two = _read(first, metric), _read(second, metric)
    for name, table in (("first", one), ("second", two)):
        print(f"{name:<8} {_mean(table)}")
    print(f"{'difference':<8} {_paired(one, two) if paired else _unpaired(one, two)}")


def _read(files: str, metric: str) -> pd.DataFrame:
    parts = list(files) if isinstance(files, tuple | list) else files.split(",")
    tables = [pd.read_csv(part).assign(table=number) for number, part in enumerate(parts)]
    pooled = pd.concat(tables, ignore_index=True)
    return pooled.assign(value=PER_IMAGE[metric](pooled)).dropna(subset=["value"]).reset_index(drop=True)


def _groups(table: pd.DataFrame) -> list[str]:
    """Near duplicates are no independent images, whichever way the splits were drawn."""
    return list(table["duplicate_group" if "duplicate_group" in table else "group_id"].astype(str))


def _statistic(table: pd.DataFrame) -> Callable[[np.ndarray], np.ndarray]:
    return lambda weights: weighted_mean(table["value"].to_numpy(), weights)


def _mean(table: pd.DataFrame) -> Estimate:
    return estimate(_statistic(table), _groups(table))


def _unpaired(one: pd.DataFrame, two: pd.DataFrame) -> Estimate:
    return difference(_statistic(one), _groups(one), _statistic(two), _groups(two))


def _paired(one: pd.DataFrame, two: pd.DataFrame) -> Estimate:
    both = one.merge(two, on=["image", "table"], suffixes=("", "_second"))
    if len(both) != len(one) or len(both) != len(two):
        raise ValueError(
            f"The tables share {len(both)} images of {len(one)} and {len(two)}: they cannot be paired. "
            "Use --paired false."
        )
    return estimate(_statistic(both.assign(value=both["value"] - both["value_second"])), _groups(both))


if __name__ == "__main__":
    run_command(compare_predictions)

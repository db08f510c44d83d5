"""Several trainings, each on a split of its own, against one test set: mean and spread of every figure, and ROC curves.

Source: paper 002 (Tübingen) draws the curves of five splits; the band of one standard deviation is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from common.data.files import read_json, write_csv
from common.metrics.aggregation import aggregate, is_known
from common.metrics.classification import roc_auc
from common.metrics.two_class import POSITIVE, PROBABILITY
from common.reports.figures import new_figure, save_figure

RATES = np.linspace(0, 1, 201)


def summarise_splits(folder: Path, folds: Sequence[int]) -> pd.DataFrame:
    """Write ``test_splits.csv`` and, of two classes, ``figures/test_roc_band.png``; return the table.

    Args:
        folder: of a cross-validation, with ``fold_<n>/test/`` of each fold.
        folds: which.

    Returns:
        metric, mean, std (between the splits), lowest, highest, splits.
    """
    parts = [folder / f"fold_{fold}" / "test" for fold in folds]
    values = pd.DataFrame([pd.read_csv(part / "metrics.csv").set_index("metric")["value"] for part in parts])
    table = values.agg(["mean", "std", "min", "max"]).T.rename(columns={"min": "lowest", "max": "highest"})
    table = table.assign(splits=len(parts)).rename_axis("metric").reset_index()
    write_csv(folder / "test_splits.csv", table)
    predictions = [pd.read_csv(part / "predictions.csv", dtype={"patient_id": str}) for part in parts]
    if all(PROBABILITY in one and one[POSITIVE].nunique() == 2 for one in predictions):
        point = read_json(folder / f"fold_{folds[0]}" / "models" / "model.json")
        level, rule = point.get("level", "image"), point.get("rule", "mean")
        level = level if is_known(predictions[0], level) else "image"
        units = [aggregate(one, level, rule) for one in predictions]
        save_figure(roc_band(units, level), folder / "figures" / "test_roc_band.png")
    return table


def roc_band(tables: Sequence[pd.DataFrame], level: str) -> Figure:
    """Draw the ROC curve of each split, their mean, and a band of one standard deviation around it.

    Args:
        tables: the same units, with ``positive`` and the ``probability`` of each split.
        level: what a unit is.
    """
    figure, (axes,) = new_figure()
    curves, areas = [], []
    for number, table in enumerate(tables):
        rate, sensitivity, _ = roc_curve(table[POSITIVE], table[PROBABILITY])
        curves.append(np.interp(RATES, rate, sensitivity))
        areas.append(float(roc_auc(table[POSITIVE], table[PROBABILITY])[0]))
        axes.plot(rate, sensitivity, linewidth=0.7, alpha=0.6, label=f"split {number}: {areas[-1]:.3f}")
    mean, spread = np.mean(curves, axis=0), np.std(curves, axis=0, ddof=1) if len(curves) > 1 else 0.0
    axes.fill_between(RATES, np.clip(mean - spread, 0, 1), np.clip(mean + spread, 0, 1), alpha=0.2, linewidth=0)
    axes.plot(RATES, mean, color="C0", linewidth=2, label=f"mean {np.mean(areas):.3f} ± {np.std(areas, ddof=1):.3f}")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal", title=f"test set, per {level}")
    axes.legend(loc="lower right", fontsize=7)
    return figure

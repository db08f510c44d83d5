"""Figures of two-class predictions that a radiologist would look at."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from common.metrics.bootstrap import Estimate, draws_of
from common.metrics.calibration import reliability
from common.metrics.two_class import POSITIVE, PROBABILITY, THRESHOLD
from common.reports.figures import new_figure

LEVELS = np.linspace(0, 1, 101)
BAND = 200  # resamples of a curve


def in_use(table: pd.DataFrame) -> float:
    """Return the threshold of a table, or the median of its folds'."""
    return float(table[THRESHOLD].median())


def roc(table: pd.DataFrame, group: str, scores: Mapping[str, Estimate]) -> Figure:
    """Draw the ROC curve with its 95 % band, and the operating point with the intervals of both rates."""
    figure, (axes,) = new_figure()
    rate, sensitivity, _ = roc_curve(table[POSITIVE], table[PROBABILITY])
    low, high = np.nanpercentile(_curves(table, group), [2.5, 97.5], axis=0)
    axes.fill_between(LEVELS, low, high, alpha=0.2, linewidth=0)
    axes.plot(rate, sensitivity, label=f"AUC {scores['roc_auc']}")
    x, y = scores["specificity"], scores["recall"]
    spans = ([[x.high - x.value], [x.value - x.low]], [[y.value - y.low], [y.high - y.value]])
    axes.errorbar([1 - x.value], [y.value], xerr=spans[0], yerr=spans[1], fmt="o", label=f"at {in_use(table):.3g}")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
    axes.legend(loc="lower right", fontsize=8)
    return figure


def _curves(table: pd.DataFrame, group: str) -> np.ndarray:
    """Return sensitivities at fixed false positive rates of resampled tables (BAND, levels)."""
    truth, score = table[POSITIVE].to_numpy(), table[PROBABILITY].to_numpy()
    order = np.argsort(-score, kind="stable")

    def curve(weights: np.ndarray) -> np.ndarray:
        up, down = (np.cumsum(weights[:, order] * side[order], 1) for side in (truth, ~truth))
        with np.errstate(invalid="ignore", divide="ignore"):
            rates = zip(down / down[:, -1:], up / up[:, -1:], strict=True)
        return np.stack([np.interp(LEVELS, x, y) for x, y in rates])

    return draws_of(curve, list(table[group]), BAND)


def precision_recall(table: pd.DataFrame, scores: Mapping[str, Estimate]) -> Figure:
    """Draw precision against recall, with the prevalence and the operating point."""
    figure, (axes,) = new_figure()
    precision, recall, _ = precision_recall_curve(table[POSITIVE], table[PROBABILITY])
    axes.plot(recall, precision, label=f"AP {scores['average_precision']}")
    axes.plot(scores["recall"].value, scores["precision"].value, "o", label=f"at {in_use(table):.3g}")
    axes.axhline(table[POSITIVE].mean(), color="grey", linestyle="--", linewidth=0.8, label="prevalence")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(fontsize=8)
    return figure


def reliability_curve(table: pd.DataFrame, scores: Mapping[str, Estimate]) -> Figure:
    """Draw the share of positives against the mean probability of each bin; dots as large as their bin."""
    figure, (axes,) = new_figure()
    bins = reliability(table[POSITIVE], table[PROBABILITY])
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=0.8)
    axes.scatter(bins["probability"], bins["positive"], s=10 + 90 * bins["n"] / bins["n"].max())
    title = f"expected calibration error {scores['expected_calibration_error']}"
    axes.set(xlabel="mean probability", ylabel="share of positives", xlim=(0, 1), ylim=(0, 1))
    axes.set_title(title, fontsize=8)
    return figure


def confusion_of_calls(table: pd.DataFrame) -> Figure:
    """Draw the counts of calls at the operating point against the truth."""
    figure, (axes,) = new_figure()
    counts = pd.crosstab(table[POSITIVE], table[PROBABILITY] >= table[THRESHOLD])
    grid = counts.reindex(index=[False, True], columns=[False, True], fill_value=0).to_numpy()
    share = grid / np.maximum(grid.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(grid):
        colour = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, f"{count}\n{share[row, column]:.1%}", ha="center", va="center", color=colour)
    axes.set_xticks([0, 1], ["negative", "positive"])
    axes.set_yticks([0, 1], ["negative", "positive"])
    axes.set(xlabel=f"called at {in_use(table):.3g}", ylabel="true")
    return figure


def histograms(table: pd.DataFrame) -> Figure:
    """Draw the distribution of probabilities of either class, each as shares of its own."""
    figure, (axes,) = new_figure()
    for positive, name in ((False, "negative"), (True, "positive")):
        values = table[PROBABILITY][table[POSITIVE] == positive]
        if len(values):
            axes.hist(
                values, np.linspace(0, 1, 41), weights=np.full(len(values), 1 / len(values)), alpha=0.5, label=name
            )
    axes.axvline(in_use(table), color="grey", linestyle="--", label=f"in use: {in_use(table):.3g}")
    axes.set(xlabel="probability", ylabel="share of the class")
    axes.legend(fontsize=8)
    return figure


def forest(found: Mapping[str, Mapping[str, Estimate]], whole: Estimate) -> Figure:
    """Draw the AUC of each subgroup with its interval and n, beside that of the whole."""
    rows = [(f"{column} {name}", one) for column, parts in found.items() for name, one in parts.items()]
    figure, (axes,) = new_figure(width=6.5, height=1.2 + 0.28 * (len(rows) + 1))
    for place, one in enumerate([whole, *(one for _, one in rows)]):
        axes.plot([one.low, one.high], [place, place], color="C0")
        axes.plot(one.value, place, "s", color="C0", markersize=4)
        axes.text(1.02, place, f"n={one.n}", va="center", fontsize=7, transform=axes.get_yaxis_transform())
    axes.axvline(whole.value, color="grey", linestyle="--", linewidth=0.8)
    axes.set_yticks(range(len(rows) + 1), ["all", *(name for name, _ in rows)], fontsize=7)
    axes.invert_yaxis()
    lowest = np.nanmin([whole.low, *(one.low for _, one in rows)])
    axes.set(xlabel="AUC with 95 % interval", xlim=(min(0.4, lowest - 0.02), 1))
    return figure

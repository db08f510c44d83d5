"""The FROC curve."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from common.metrics.bootstrap import draws_of
from common.metrics.detection import RATES, froc, sensitivity_at
from common.metrics.lesion_tables import Counted
from common.reports.figures import new_figure

GRID = np.geomspace(RATES[0] / 2, RATES[-1] * 2, 60)
BAND = 200  # resamples of a curve


def froc_curves(methods: Mapping[str, Counted]) -> Figure:
    """Draw sensitivity against false positives an image, with its 95 % band, for each method by name."""
    figure, (axes,) = new_figure(width=6.0)
    for name, counted in methods.items():
        low, high = np.nanpercentile(_band(counted), [2.5, 97.5], axis=0)
        alarms, sensitivity = froc(counted.found, counted.false, counted.lesions)
        (line,) = axes.step(alarms[0], sensitivity[0], where="post", label=name)
        axes.fill_between(GRID, low, high, alpha=0.2, linewidth=0, color=line.get_color(), step="post")
    axes.set_xscale("log", base=2)
    axes.set_xticks(RATES, [f"{rate:g}" for rate in RATES])
    axes.set(xlabel="false positives an image", ylabel="sensitivity", xlim=(GRID[0], GRID[-1]), ylim=(0, 1.02))
    if len(methods) > 1:
        axes.legend(fontsize=8)
    return figure


def _band(counted: Counted) -> np.ndarray:
    def curve(weights: np.ndarray) -> np.ndarray:
        parts = (counted.found, counted.false, counted.lesions, weights)
        return np.stack([sensitivity_at(rate, *parts) for rate in GRID], axis=1)

    return draws_of(curve, counted.groups, BAND)

"""Figures of detected lesions as handlers of an evaluator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from monai.handlers.ignite_metric import IgniteMetricHandler

from common.metrics.lesions import LesionFigure


class LesionFigureHandler(IgniteMetricHandler):
    """`common.metrics.lesions.LesionFigure` of an engine's output.

    Args:
        figure: its name.
        output_transform: from the engine's output to (detections, lesions), a dictionary per image each.
        options: of the metric.
    """

    def __init__(self, figure: str, output_transform: Callable = lambda x: x, **options: Any) -> None:
        super().__init__(metric_fn=LesionFigure(figure, **options), output_transform=output_transform)

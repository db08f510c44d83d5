"""Two-class figures as handlers of an evaluator."""

from __future__ import annotations

from collections.abc import Callable

from monai.handlers.ignite_metric import IgniteMetricHandler

from common.metrics.cumulative import TwoClassFigure


class TwoClassFigureHandler(IgniteMetricHandler):
    """`common.metrics.cumulative.TwoClassFigure` of an engine's output.

    Args:
        figure: its name.
        threshold: from which a probability is a call.
        output_transform: from the engine's output to (probabilities, truths).
    """

    def __init__(self, figure: str, threshold: float = 0.5, output_transform: Callable = lambda x: x) -> None:
        super().__init__(metric_fn=TwoClassFigure(figure, threshold), output_transform=output_transform)

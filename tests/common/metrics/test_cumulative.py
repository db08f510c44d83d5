from __future__ import annotations

import numpy as np
import pytest
import torch
from ignite.engine import Engine

from common.handlers.two_class import TwoClassFigureHandler
from common.metrics.cumulative import FIGURES, TwoClassFigure

TRUTH = torch.tensor([1.0, 1, 0, 0, 0, 1])
SCORE = torch.tensor([0.9, 0.4, 0.6, 0.4, 0.1, 0.7])


@pytest.mark.parametrize("name", FIGURES)
def test_batches_add_up_to_the_function_of_all_rows(name: str) -> None:
    metric = TwoClassFigure(name, threshold=0.5)
    for part in (slice(0, 2), slice(2, 3), slice(3, 6)):
        metric(SCORE[part, None], TRUTH[part, None])
    calls = ("accuracy", "f1", "precision", "recall", "specificity", "recall_rate")
    given = SCORE.numpy() >= 0.5 if name in calls else SCORE.numpy()
    assert metric.aggregate() == pytest.approx(FIGURES[name](TRUTH.numpy() > 0.5, given)[0])


def test_a_handler_puts_the_figure_among_the_engines_metrics() -> None:
    engine = Engine(lambda engine, batch: (SCORE[batch], TRUTH[batch]))
    TwoClassFigureHandler("roc_auc").attach(engine, "auc")
    assert engine.run([[0, 1, 2], [3, 4, 5]]).metrics["auc"] == pytest.approx(7.5 / 9)


def test_unknown_figures_are_refused_and_one_class_is_undefined() -> None:
    with pytest.raises(ValueError, match="Unknown figure 'auroc'"):
        TwoClassFigure("auroc")
    metric = TwoClassFigure("roc_auc")
    metric(SCORE, torch.zeros(6))
    assert np.isnan(metric.aggregate())

"""Write an evaluation down: tables, metrics with intervals, figures."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pandas as pd
from ignite.engine import Engine, Events

from common.data.files import write_csv
from common.handlers.distributed import rank
from common.metrics.tables import metrics_table, readable
from common.reports import figures

logger = logging.getLogger(__name__)


class Report:
    """At the end of a run write ``predictions.csv``, ``mask_areas.csv``, ``metrics.csv`` and ``figures/*.png``.

    Attach it to an evaluator, or to a trainer after `ChooseOperatingPoint`: the table then holds validation,
    and the training curves are drawn as well.

    Args:
        table: of the evaluator: `PredictionTable` or `BreastPredictions`.
        output_dir: where to write.
        history_file: the trainer's ``history.csv``, if there is one.
        show: log the metrics as a table for people.
    """

    def __init__(
        self,
        table: Any,
        output_dir: str | os.PathLike,
        history_file: str | os.PathLike | None = None,
        show: bool = False,
    ) -> None:
        self.table, self.folder = table, Path(output_dir)
        self.history_file, self.show = history_file, show

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if rank() > 0:
            return
        self.table.write(self.folder)
        write_csv(self.folder / "metrics.csv", metrics_table(self.table.scores))
        drawn = dict(self.table.figures())
        if self.history_file and Path(self.history_file).is_file():
            drawn["training_curves"] = figures.training_curves(pd.read_csv(self.history_file))
        for name, figure in drawn.items():
            figures.save_figure(figure, self.folder / "figures" / f"{name}.png")
        if self.show:
            logger.info(f"{readable(self.table.scores)}\nTables and figures lie in {self.folder}")

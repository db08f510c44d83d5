"""Write an evaluation down: tables, metrics with intervals, figures."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from ignite.engine import Engine, Events

from common.data.files import write_csv
from common.handlers.distributed import rank
from common.handlers.predictions import PredictionTable
from common.metrics.tables import has_classes, metrics_table, readable
from common.reports import figures

logger = logging.getLogger(__name__)


class Report:
    """At the end of a run write ``predictions.csv``, ``mask_areas.csv``, ``metrics.csv`` and ``figures/*.png``.

    Attach it to an evaluator, or to a trainer after `ChooseOperatingPoint`: the table then holds validation,
    and the training curves are drawn as well.

    Args:
        table: of the evaluator.
        output_dir: where to write.
        history_file: the trainer's ``history.csv``, if there is one.
        show: log the metrics as a table for people.
    """

    def __init__(
        self,
        table: PredictionTable,
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
        for name, figure in self.draw().items():
            figures.save_figure(figure, self.folder / "figures" / f"{name}.png")
        if self.show:
            logger.info(f"{readable(self.table.scores)}\nTables and figures lie in {self.folder}")

    def draw(self) -> Mapping[str, figures.Figure]:
        """Return the figures that the tables allow, by name."""
        table, drawn = self.table, {}
        if self.history_file and Path(self.history_file).is_file():
            drawn["training_curves"] = figures.training_curves(pd.read_csv(self.history_file))
        if has_classes(table.predictions):
            drawn["roc_curves"] = figures.roc_curves(table.predictions, table.classes)
            drawn["confusion"] = figures.confusion(table.predictions, table.classes)
        if table.areas is not None:
            drawn["threshold_curve"] = figures.threshold_curve(table.areas, table.threshold)
            drawn["overlays"] = figures.overlay_page(table.pictures, table.predictions, table.threshold)
        return drawn

"""Collect an evaluator's predictions on mammograms: a row per item, scored per image, breast and patient."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from matplotlib.figure import Figure

from common.data.files import write_csv
from common.data.heads import Head, binary_first, heads_of, slices_of
from common.metrics import two_class
from common.metrics.aggregation import LEVELS, UNIT_FILES, aggregate, is_known
from common.metrics.bootstrap import Estimate
from common.metrics.classification import roc_auc
from common.metrics.two_class import POSITIVE, PROBABILITY, THRESHOLD
from common.metrics.two_class_points import TwoClassPoint, apply_point, choose_point
from common.reports.tasks import binary

logger = logging.getLogger(__name__)
OF_IMAGES = ("name", "case", "patient_id", "laterality", "view", "kind", "context")
IDENTITY = (*OF_IMAGES, "site_id", "machine_id", "age", "density", "implant")


def head_columns(logits: torch.Tensor, heads: Sequence[Head]) -> dict[str, np.ndarray]:
    """Return the answers of all heads as columns of a table.

    Args:
        logits: (B, columns).
        heads: in that order.

    Returns:
        ``probability`` of a binary main head (B,), or ``p_<value>`` of its classes; and for the others ``p_<name>``,
        ``p_<name>=<value>`` or ``predicted_<name>`` (a number in its own units).
    """
    columns: dict[str, np.ndarray] = {}
    for n, (head, part) in enumerate(zip(heads, slices_of(heads), strict=True)):
        values = logits[:, part].detach().float().cpu()
        if head.kind == "classes":
            shares = values.softmax(1).numpy()
            prefix = f"p_{head.name}=" if n else "p_"
            columns |= {f"{prefix}{value}": shares[:, i] for i, value in enumerate(head.values)}
        elif head.kind == "number":
            columns[f"predicted_{head.name}"] = values[:, 0].numpy() * head.std + head.mean
        else:
            columns[PROBABILITY if n == 0 else f"p_{head.name}"] = values[:, 0].sigmoid().numpy()
    return columns


class BreastPredictions(Metric):
    """Key metric of an evaluator, and the table behind it.

    The key metric is the area under the ROC curve of breasts (of items, where sides are not known). With several
    processes the rows of all are gathered, so that each computes what one process would.

    Expects batches with ``name``, ``target`` (B, heads) and identifiers, and logits (B, columns) as ``pred``.

    Args:
        heads: see `common.data.heads`.
        operating_point: to apply (`common.metrics.two_class_points`); none while training.
        level, rule, wish, calibration: of the operating point that `choose` chooses.
        resamples: of the intervals in the report.
    """

    def __init__(
        self,
        heads: Sequence[Mapping[str, Any]],
        operating_point: TwoClassPoint | None = None,
        level: str = "breast",
        rule: str = "mean",
        wish: str = "best_f1",
        calibration: str | None = "temperature",
        resamples: int = 2000,
    ) -> None:
        self.heads, self.point, self.resamples = binary_first(heads_of(heads)), operating_point, resamples
        self.level, self.rule, self.wish, self.calibration = level, rule, wish, calibration
        super().__init__(device="cpu")

    def reset(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self._known: tuple[Any, Any] | None = None

    def update(self, output: Any) -> None:
        """Unused: rows need the batch too, which `iteration_completed` takes from the engine."""

    def iteration_completed(self, engine: Engine, *_: Any) -> None:
        batch, output = engine.state.batch, engine.state.output
        columns = head_columns(output["pred"], self.heads)
        truth = batch["target"][:, 0].tolist()
        for row, positive in enumerate(truth):
            facts = {key: batch[key][row] for key in (*IDENTITY, "fold", "split") if key in batch}
            values = {key: float(column[row]) for key, column in columns.items()}
            self.rows.append({**facts, POSITIVE: positive, **values})

    def compute(self) -> float:
        self._gather()
        table = pd.DataFrame(self.rows).rename(columns={"name": "image"})
        table = table.drop_duplicates("image").sort_values("image").reset_index(drop=True)
        unknown = table[POSITIVE].isna()
        if unknown.any():
            first, label = table["image"][unknown].iloc[0], self.heads[0].name
            raise ValueError(f"{unknown.sum()} of {len(table)} items have no '{label}', such as {first}.")
        self.predictions = apply_point(table.assign(**{POSITIVE: table[POSITIVE] > 0.5}), self.point)
        units = self._units()
        return float(roc_auc(units[POSITIVE], units[PROBABILITY])[0])

    def _units(self) -> pd.DataFrame:
        known = is_known(self.predictions, self.level)
        return aggregate(self.predictions, self.level, self.rule) if known else self.predictions

    def completed(self, engine: Engine, name: str) -> None:
        engine.state.metrics[name] = self.compute()
        units, ones = self._units().assign(**{THRESHOLD: 0.5}), np.ones((1, len(self._units())))
        found = {key: float(figure(ones)[0]) for key, figure in two_class.statistics(units).items()}
        engine.state.metrics |= {key: found[key] for key in ("average_precision", "probabilistic_f1")}

    def _gather(self) -> None:
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return
        parts: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, self.rows)
        self.rows = [row for part in parts for row in part]

    def choose(self) -> dict[str, Any]:
        """Return the operating point that these predictions suggest: for data they do not hold."""
        if self.predictions[POSITIVE].nunique() < 2:
            logger.warning("An operating point cannot be chosen on one class: probabilities stay, and .5 is kept.")
            self.point = {"threshold": 0.5, "calibration": None, "wish": "fixed=.5", "n": len(self.predictions)}
        else:
            self.point = choose_point(self.predictions, self.level, self.rule, self.wish, self.calibration)
        self.predictions = apply_point(self.predictions, self.point)
        return dict(self.point)

    @property
    def scores(self) -> dict[str, Estimate]:
        """All figures with their intervals, each named after its level."""
        levels = self._report()[0]
        joined = self.predictions["image"].str.contains("+", regex=False).any()  # then a row is no image
        named = {level: levels[level] for level in LEVELS if level in levels and not (level == "image" and joined)}
        return {f"{level}_{name}": found for level, scores in named.items() for name, found in scores.items()}

    def figures(self) -> dict[str, Figure]:
        """Return the figures of a report, by name."""
        return self._report()[1]

    def _report(self) -> tuple[dict[str, Any], dict[str, Figure]]:
        key = (len(self.predictions), float(self.predictions[PROBABILITY].sum()), self.predictions[THRESHOLD].sum())
        if self._known is None or self._known[0] != key:
            group = "patient_id" if "patient_id" in self.predictions else "image"
            self._known = (key, binary(self.predictions, group, self.rule, self.resamples))
        return self._known[1]

    def write(self, output_dir: str | os.PathLike) -> None:
        """Write ``predictions.csv`` (rows), and a table of each unit that is known, such as ``breasts.csv``."""
        folder = Path(output_dir)
        write_csv(folder / "predictions.csv", self.predictions)
        for level, name in UNIT_FILES.items():
            if is_known(self.predictions, level):
                write_csv(folder / name, aggregate(self.predictions, level, self.rule))

"""Collect an evaluator's predictions on patches: of two classes, or of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ignite.engine import Engine

from common.data.heads import heads_of
from common.handlers.breast_predictions import IDENTITY, BreastPredictions, head_columns
from common.handlers.predictions import PredictionTable


def patch_table(
    heads: Sequence[Mapping[str, Any]], operating_point: Mapping[str, Any] | None = None, **options: Any
) -> BreastPredictions | PatchClasses:
    """Return the table that fits the main head: one probability, or several classes.

    Args:
        heads: see `common.data.heads`.
        operating_point: to apply; none while training.
        options: of `BreastPredictions`; several classes need none.
    """
    if heads_of(heads)[0].kind == "binary":
        return BreastPredictions(heads, operating_point, **options)
    return PatchClasses(heads, operating_point)


class PatchClasses(PredictionTable):
    """A `PredictionTable` of batches from `common.data.batch.collate_views`, whose main head has several classes.

    Expects batches with ``name``, ``target`` (B, heads) and identifiers, and logits (B, columns) as ``pred``.

    Args:
        heads: see `common.data.heads`.
        operating_point: to apply; none while training.
    """

    def __init__(self, heads: Sequence[Mapping[str, Any]], operating_point: Mapping[str, Any] | None = None) -> None:
        self.heads = heads_of(heads)
        super().__init__(list(map(str, self.heads[0].values)), operating_point)

    def iteration_completed(self, engine: Engine, *_: Any) -> None:
        batch = engine.state.batch
        columns = head_columns(engine.state.output["pred"], self.heads)
        for row, wanted in enumerate(batch["target"][:, 0].tolist()):
            facts = {key: batch[key][row] for key in (*IDENTITY, "split", "fold") if key in batch}
            values = {key: float(column[row]) for key, column in columns.items()}
            self.rows.append({"image": facts.pop("name"), **facts, "label": self.classes[int(wanted)], **values})

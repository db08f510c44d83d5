"""Train a network in stages: its head first, then more and more of its backbone, each at a rate of its own."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events

from common.networks.weights import bare

logger = logging.getLogger(__name__)


class StagedUnfreezing:
    """Before each epoch let as much of the backbone train as that epoch's stage says.

    What a stage says depends on the epoch alone, so that a resumed run is in the right stage. Weights that are held
    still have no gradient, and optimizers leave them, and their state, alone: what joins in a later stage starts
    without momentum, and what trained before keeps its own.

    Args:
        network: with ``unfreeze`` (`common.networks.patch_classifier.PatchClassifier`, or `LesionMaskRCNN`).
        stages: each with ``epochs``, how many it lasts, and ``trainable``, how much; the last one goes on to the end.
            With an optimizer also ``rate``, by which the learning rate that it started with is multiplied (1).
        optimizer: whose learning rate the stages set; without one it is left alone.

    Raises:
        ValueError: there is no stage, or one without epochs.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        stages: Sequence[Mapping[str, Any]],
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        self.network, self.stages = network, [dict(stage) for stage in stages]
        if not self.stages or any(int(stage["epochs"]) < 1 for stage in self.stages):
            raise ValueError(
                f"Stages are a list of {{'epochs': 1 or more, 'trainable': how much}}, not {list(stages)}."
            )
        self.optimizer = optimizer
        self.rates = [group["lr"] for group in optimizer.param_groups] if optimizer else []
        self.current: dict[str, Any] | None = None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def stage_of(self, epoch: int) -> dict[str, Any]:
        """Return the stage of an epoch, counted from 1."""
        last = 0
        for stage in self.stages:
            last += int(stage["epochs"])
            if epoch <= last:
                return stage
        return self.stages[-1]

    def __call__(self, engine: Engine) -> None:
        stage = self.stage_of(engine.state.epoch)
        if stage is not self.current:
            bare(self.network).unfreeze(stage["trainable"])  # type: ignore[operator]
            if self.optimizer is not None:
                for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                    group["lr"] = rate * float(stage.get("rate", 1.0))
            self.current = stage
            logger.info(f"From epoch {engine.state.epoch} on {stage['trainable']} of the backbone trains")

"""Checkpoints of the best and the last epoch, and going on from the last one."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events

from common.data.files import read_json, write_json
from common.data.flags import flag
from common.handlers.distributed import barrier, rank
from common.networks.weights import bare, load_weights, operating_point_path, save

logger = logging.getLogger(__name__)
BEST, LAST, STATE = "model.pt", "model_last.pt", "checkpoint.pt"


class Checkpoints:
    """Save after every epoch, and go on from there with ``resume``.

    ``checkpoint.pt`` holds what training needs to go on; ``model_last.pt`` and ``model.pt`` hold the weights to
    evaluate after the last and the best epoch. Place it after validation among the handlers.

    Args:
        ckpt_dir: where they go.
        state: what has a ``state_dict`` and must be carried over (network, optimizer, scheduler, average); None
            values are left out.
        evaluated: the network whose weights are evaluated (the average, if there is one).
        evaluator: whose key metric tells the best epoch.
        resume: go on from ``checkpoint.pt``.

    Raises:
        FileNotFoundError: at the start, if there is nothing to resume.
        FileExistsError: at the start, if the folder holds a run that would be overwritten.
    """

    def __init__(
        self,
        ckpt_dir: str | os.PathLike,
        state: Mapping[str, Any],
        evaluated: torch.nn.Module,
        evaluator: Engine,
        resume: bool = False,
    ) -> None:
        self.folder = Path(ckpt_dir)
        self.state = {name: value for name, value in state.items() if value is not None}
        self.evaluated, self.evaluator, self.resume = evaluated, evaluator, flag(resume)
        self.best = float("-inf")

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def start(self, engine: Engine) -> None:
        path = self.folder / STATE
        if self.resume:
            self._load(engine, path)
        elif path.exists():
            raise FileExistsError(
                f"'{self.folder}' holds a run already. Go on with it by --resume true, or choose another --output_dir."
            )

    def _load(self, engine: Engine, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(
                f"Nothing to resume: no '{path}'. Give the --output_dir of the run that was stopped."
            )
        saved = torch.load(path, map_location="cpu", weights_only=True)
        if set(saved["state"]) != set(self.state):
            raise ValueError(f"'{path}' is of another kind of run: it holds {sorted(saved['state'])}. Use its config.")
        for name, value in self.state.items():
            self._load_one(name, value, saved["state"][name], path)
        engine.state.epoch, engine.state.iteration = saved["epoch"], saved["iteration"]
        self.best = saved["best"]
        logger.info(f"Going on after epoch {saved['epoch']} of {path}")

    @staticmethod
    def _load_one(name: str, value: Any, content: Any, path: Path) -> None:
        try:
            value.load_state_dict(content)
        except (RuntimeError, ValueError, KeyError) as error:
            raise ValueError(
                f"The {name} in '{path}' is another than configured. Use the config of that run."
            ) from error

    def save(self, engine: Engine) -> None:
        if rank() == 0:
            self._save(engine)
        barrier()

    def _save(self, engine: Engine) -> None:
        weights = bare(self.evaluated).state_dict()
        if self.evaluator.state.epoch == engine.state.epoch:
            key = self.evaluator.state.metrics[self.evaluator.state.key_metric_name]
            if key > self.best or not (self.folder / BEST).exists():
                self.best = max(self.best, float(key))
                save(self.folder / BEST, weights)
        save(self.folder / LAST, weights)
        save(
            self.folder / STATE,
            {
                "state": {name: value.state_dict() for name, value in self.state.items()},
                "epoch": engine.state.epoch,
                "iteration": engine.state.iteration,
                "best": self.best,
            },
        )


class ChooseOperatingPoint:
    """At the end of training score the best and the last weights on validation, and save the threshold with each.

    Args:
        ckpt_dir: of the run.
        evaluated: the network that the evaluator runs.
        evaluator: runs on validation data.
        table: the evaluator's `common.handlers.predictions.PredictionTable`.
        facts: what is noted beside the threshold (fold, fingerprint of the data, …).
    """

    def __init__(
        self, ckpt_dir: str | os.PathLike, evaluated: torch.nn.Module, evaluator: Engine, table: Any, facts: Mapping
    ) -> None:
        self.folder, self.evaluated, self.evaluator = Path(ckpt_dir), evaluated, evaluator
        self.table, self.facts = table, dict(facts)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        for name in (LAST, BEST):
            load_weights(self.evaluated, self.folder / name)
            self.evaluator.run()
            point = {**self.table.choose(), "chosen_on": "validation", **self.facts}
            if rank() == 0:
                write_json(operating_point_path(self.folder / name), point)


class ReleaseLastWeights:
    """At the end of training that held no fold back, release the last weights with an operating point chosen elsewhere.

    Args:
        ckpt_dir: of the run.
        operating_point: a JSON file, such as the ``operating_point.json`` of `scripts/cross_validate.py`.
        facts: what is noted beside it.

    Raises:
        FileNotFoundError: at once, if there is no such file.
    """

    def __init__(
        self, ckpt_dir: str | os.PathLike, operating_point: str | os.PathLike | None, facts: Mapping[str, Any]
    ) -> None:
        if operating_point is None or not Path(operating_point).is_file():
            raise FileNotFoundError(
                f"No operating point at '{operating_point}'. Give --chosen_point the operating_point.json that "
                "cross_validate.py wrote for this recipe and these data: no fold is left to choose one on."
            )
        self.folder, self.facts = Path(ckpt_dir), dict(facts)
        self.point = read_json(Path(operating_point))

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        if rank() > 0:
            return
        for name in (LAST, BEST):
            write_json(
                operating_point_path(self.folder / name), {**self.point, "chosen_on": "out of fold", **self.facts}
            )
        shutil.copyfile(self.folder / LAST, self.folder / f".{BEST}.part")
        os.replace(self.folder / f".{BEST}.part", self.folder / BEST)

"""Small handlers of a training run: repeatable epochs, averaged weights, a progress bar, the history."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from ignite.engine import Engine, Events
from monai.utils import set_determinism
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from common.data.files import write_csv
from common.handlers.distributed import rank


class SeedEpochs:
    """Seed every source of randomness from the seed and the epoch's number.

    An epoch then depends on nothing but its number and the weights it starts from, so that a resumed run
    repeats what an uninterrupted one would have done.

    Args:
        seed: of the run.
        dataset: whose ``transform`` holds the random transforms.
    """

    def __init__(self, seed: int, dataset: Any) -> None:
        self.seed, self.dataset = seed, dataset

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        seed = (self.seed * 1_000_003 + engine.state.epoch) % 2**31
        set_determinism(seed)
        if hasattr(self.dataset.transform, "set_random_state"):
            self.dataset.transform.set_random_state(seed)


def averaged(network: torch.nn.Module, decay: float | None) -> AveragedModel | None:
    """Return an exponential moving average of the network's weights, or None where decay is None.

    Buffers are the network's own: averaged over a short run, the statistics of batch normalisation would be those of
    its beginning.

    After n updates the decay is (1 + n) / (10 + n) at most, so that the average of a short run, or of the first
    epochs, is not held back by the weights it started from.
    """
    if not decay:
        return None

    def update(average: Any, current: Any, number: Any) -> None:
        rate = min(decay, (1 + int(number)) / (10 + int(number)))
        get_ema_multi_avg_fn(rate)(average, current, number)

    return AveragedModel(network, multi_avg_fn=update)


class UpdateAverage:
    """Move averaged weights after every iteration; does nothing where there is no average."""

    def __init__(self, average: AveragedModel | None, network: torch.nn.Module) -> None:
        self.average, self.network = average, network

    def attach(self, engine: Engine) -> None:
        if self.average is not None:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        assert self.average is not None
        self.average.update_parameters(self.network)


def _loss(engine: Engine) -> float | None:
    """Return the loss of the last iteration, decollated or not; None where there is none."""
    output = engine.state.output[0] if isinstance(engine.state.output, list) else engine.state.output
    return torch.as_tensor(output["loss"]).item() if "loss" in output else None


class Progress:
    """One bar over all iterations of a run, with the loss and the last validation's key metric beside it.

    Args:
        title: what the bar says in front.
        evaluator: whose key metric to show, if there is one.
    """

    def __init__(self, title: str, evaluator: Engine | None = None) -> None:
        self.title, self.evaluator = title, evaluator
        self.bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.step)
        engine.add_event_handler(Events.COMPLETED, self.close)

    def open(self, engine: Engine) -> None:
        total = engine.state.max_epochs * engine.state.epoch_length
        self.bar = tqdm(total=total, desc=self.title, unit="batch", disable=rank() > 0)

    def step(self, engine: Engine) -> None:
        assert self.bar is not None
        self.bar.n = engine.state.iteration
        self.bar.set_postfix_str(self._facts(engine), refresh=False)
        self.bar.update(0)

    def _facts(self, engine: Engine) -> str:
        facts = [f"epoch {engine.state.epoch}/{engine.state.max_epochs}"] if engine.state.max_epochs > 1 else []
        if (loss := _loss(engine)) is not None:
            facts.append(f"loss {loss:.3f}")
        if self.evaluator is not None and self.evaluator.state.metrics:
            name = self.evaluator.state.key_metric_name
            facts.append(f"val {name} {self.evaluator.state.metrics[name]:.3f}")
        return ", ".join(facts)

    def close(self, engine: Engine) -> None:
        assert self.bar is not None
        self.bar.close()


class History:
    """Keep a row per epoch in a CSV file: loss, learning rate, validation metrics.

    Args:
        path: the file.
        optimizer: whose learning rate is noted.
        evaluator: whose metrics are noted in the epochs in which it ran.
    """

    def __init__(self, path: str | os.PathLike, optimizer: torch.optim.Optimizer, evaluator: Engine) -> None:
        self.path = Path(path)
        self.optimizer, self.evaluator = optimizer, evaluator
        self.rows: list[dict[Any, Any]] = []
        self._losses: list[float] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.note)

    def start(self, engine: Engine) -> None:
        """Take up the epochs that a resumed run has behind it."""
        if engine.state.epoch and self.path.is_file():
            known = pd.read_csv(self.path)
            self.rows = known[known["epoch"] <= engine.state.epoch].to_dict("records")

    def collect(self, engine: Engine) -> None:
        self._losses.append(_loss(engine) or 0.0)

    def note(self, engine: Engine) -> None:
        row = {
            "epoch": engine.state.epoch,
            "train_loss": sum(self._losses) / len(self._losses),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
        }
        if self.evaluator.state.epoch == engine.state.epoch:  # MONAI's ValidationHandler runs it as this epoch
            row |= {f"val_{name}": value for name, value in self.evaluator.state.metrics.items()}
        self.rows.append(row)
        self._losses = []
        if rank() == 0:
            write_csv(self.path, pd.DataFrame(self.rows))

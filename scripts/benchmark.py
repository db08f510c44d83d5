"""Measure speed as ratios of things that run in turn in one process, with the absolute figures beside them."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser

from common.data.bundle import bundle_root
from common.handlers.training import averaged
from common.reports.errors import run_command


def busi(dataset_dir: str, epochs: int = 7, image_size: int = 128, threads: int | None = None) -> None:
    """Compare training through the bundle with a bare PyTorch loop, epoch by epoch in turn.

    Three arms on the same network, batches and data: the bundle's trainer with all its handlers but validation;
    a bare loop over the same data loader; and forward, backward and step on tensors that lie in memory.

    Args:
        dataset_dir: a prepared data set.
        epochs: of each arm; the first is left out of the medians.
        image_size: pixels.
        threads: of torch, all cores by default.
    """
    if threads:
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        given = {"dataset_dir": dataset_dir, "epochs": epochs, "image_size": [image_size] * 2, "mlflow": False}
        parser = _parse("busi_attention_unet", **given, output_dir=folder, val_interval=10**6)
        times, memory = _run_in_turn(parser)
    images = len(parser.get_parsed_content("train#dataloader")) * parser.get_parsed_content("batch_size")
    _report({name: images / median(seconds[1:]) for name, seconds in times.items()}, memory)


def _parse(bundle: str, **overrides: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(str(Path(bundle_root(bundle)) / "configs" / "train.json"))
    # the end of the run scores and draws; what is timed here are its epochs
    kept = [h for h in parser["train#handlers"] if not h["_target_"].endswith(("ChooseOperatingPoint", "Report"))]
    parser.update({**overrides, "train#handlers": [h for h in kept if h["_target_"] != "ValidationHandler"]})
    return parser


def _step(parser: ConfigParser) -> Callable[[Any], None]:
    """Return one bare training step on a batch, with a network, optimizer and average of its own."""
    network = copy.deepcopy(parser.get_parsed_content("network")).train()
    loss = parser.get_parsed_content("loss")
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    average = averaged(network, parser.get_parsed_content("ema_decay"))
    assert average is not None

    def step(prepared: tuple[torch.Tensor, Any]) -> None:
        image, targets = prepared
        optimizer.zero_grad()
        loss(network(image), targets).backward()
        optimizer.step()
        average.update_parameters(network)

    return step


def _run_in_turn(parser: ConfigParser) -> tuple[dict[str, list[float]], list[int]]:
    trainer = parser.get_parsed_content("train#trainer")
    loader, device = parser.get_parsed_content("train#dataloader"), parser.get_parsed_content("device")
    bare, in_memory = _step(parser), _step(parser)

    def prepare(batch: Any) -> tuple[torch.Tensor, Any]:
        return trainer.prepare_batch(batch, device)

    tensors = [prepare(batch) for batch in loader]
    times: dict[str, list[float]] = {"bundle": [], "bare loop": [], "tensors in memory": []}
    memory: list[int] = []

    def others(_: Any) -> None:
        times["bundle"].append(time.perf_counter() - started[0])
        times["bare loop"].append(_timed(bare, map(prepare, loader)))
        times["tensors in memory"].append(_timed(in_memory, tensors))
        memory.append(psutil.Process().memory_info().rss)
        started[0] = time.perf_counter()

    started = [0.0]
    trainer.add_event_handler(Events.STARTED, lambda _: started.__setitem__(0, time.perf_counter()))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, others)
    trainer.run()
    return times, memory


def _timed(step: Callable[[Any], None], batches: Iterable[Any]) -> float:
    begin = time.perf_counter()
    for batch in batches:
        step(batch)
    return time.perf_counter() - begin


def _report(rates: dict[str, float], memory: list[int]) -> None:
    for name, rate in rates.items():
        print(f"{name:<18} {rate:7.1f} images/s")
    print(f"bundle / bare loop              {rates['bundle'] / rates['bare loop']:.3f}   (asked: 0.95 or more)")
    print(
        f"bare loop / tensors in memory   {rates['bare loop'] / rates['tensors in memory']:.3f}   (asked: 0.90 or more)"
    )
    grown = (memory[-1] - memory[1]) / 2**20
    print(f"resident memory: {memory[1] / 2**20:.0f} MiB after epoch 2, {grown:+.0f} MiB by epoch {len(memory)}")


if __name__ == "__main__":
    run_command({"busi": busi})

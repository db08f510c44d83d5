"""How much of the network's own speed a bundle's training keeps: three arms, epoch by epoch in turn."""

from __future__ import annotations

import copy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from statistics import median
from typing import Any

import psutil
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser

from common.data.bundle import config_files
from common.data.flags import flag
from common.handlers.training import averaged

ARMS = ("bundle", "bare loop", "tensors in memory")
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "sgd": partial(torch.optim.SGD, momentum=0.9),
}


def compare_training(bundle: str, **overrides: Any) -> tuple[dict[str, float], list[int]]:
    """Return images per second of each arm, and the resident memory after each epoch.

    The arms have the same network, batches, precision and data: the bundle's trainer with all its handlers but
    validation; a bare PyTorch loop over the same data loader; and forward, backward and step on tensors in memory. The
    first epoch is left out of the medians.

    Args:
        bundle: its name.
        overrides: of its config.
    """
    with tempfile.TemporaryDirectory() as folder:
        parser = _parse(bundle, mlflow=False, output_dir=folder, val_interval=10**6, **overrides)
        times, memory = _run_in_turn(parser)
    images = len(parser.get_parsed_content("train#dataloader")) * parser.get_parsed_content("batch_size")
    return {name: images / median(seconds[1:]) for name, seconds in times.items()}, memory


def _parse(bundle: str, **overrides: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(config_files(bundle))
    kept = ConfigParser.load_config_file(config_files(bundle)[0])["train"]["handlers"]
    parser.update({**overrides, "train#handlers": [h for h in kept if h["_target_"] not in LEFT_OUT]})
    return parser


LEFT_OUT = ("ValidationHandler", "common.handlers.checkpoints.ChooseOperatingPoint", "common.handlers.report.Report")


def _step(parser: ConfigParser) -> Callable[[Any], None]:
    """Return one bare training step on a batch, with a network, optimizer and average of its own."""
    network = copy.deepcopy(parser.get_parsed_content("network")).train()
    loss = parser.get_parsed_content("loss")
    optimizer = OPTIMIZERS[parser.get("optimizer_name", "adamw")](network.parameters(), lr=1e-4)
    average = averaged(network, parser.get_parsed_content("ema_decay"))
    device, amp = torch.device(parser.get_parsed_content("device")), flag(parser.get_parsed_content("amp"))
    scaler = torch.amp.GradScaler(enabled=amp)

    def step(prepared: tuple[Any, ...]) -> None:
        image, targets, more, named = (*prepared, (), {})[:4]  # a detector takes its targets too
        optimizer.zero_grad()
        with torch.autocast(device.type, enabled=amp):
            found = loss(network(image, *more, **named), targets)
        scaler.scale(found).backward()
        scaler.step(optimizer)
        scaler.update()
        if average is not None:
            average.update_parameters(network)

    return step


def _run_in_turn(parser: ConfigParser) -> tuple[dict[str, list[float]], list[int]]:
    trainer = parser.get_parsed_content("train#trainer")
    loader, device = parser.get_parsed_content("train#dataloader"), parser.get_parsed_content("device")
    bare, in_memory = _step(parser), _step(parser)

    def prepare(batch: Any) -> tuple[Any, ...]:
        return trainer.prepare_batch(batch, device)

    tensors = [prepare(batch) for batch in loader]
    times: dict[str, list[float]] = {name: [] for name in ARMS}
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
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def describe(rates: dict[str, float], memory: list[int]) -> str:
    """Return rates, their ratios and the memory as lines of text."""
    bundle, bare, tensors = (rates[name] for name in ARMS)
    grown = (memory[-1] - memory[1]) / 2**20
    return "\n".join(
        [
            *(f"{name:<18} {rate:7.1f} images/s" for name, rate in rates.items()),
            f"bundle / bare loop              {bundle / bare:.3f}   (asked: 0.95 or more)",
            f"bare loop / tensors in memory   {bare / tensors:.3f}   (asked: 0.90 or more)",
            f"resident memory: {memory[1] / 2**20:.0f} MiB after epoch 2, {grown:+.0f} MiB by epoch {len(memory)}",
        ]
    )


def seconds_to_first_step(bundle: str, **overrides: Any) -> float:
    """Return how long ``python -m monai.bundle run training`` takes until it has done one step."""
    files = "[" + ",".join(f"'{name}'" for name in config_files(bundle)) + "]"
    words = [word for key, value in overrides.items() for word in (f"--{key}", str(value))]
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", files, *words]
        command += ["--output_dir", folder + "/run", "--mlflow", "false"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert process.stderr is not None
        seen = b""
        while b"loss " not in seen and (part := process.stderr.read1()):  # type: ignore[attr-defined]
            seen += part
        taken = time.perf_counter() - begin
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
    if b"loss " not in seen:
        raise ValueError(f"The training ended before its first step: {seen.decode()[-500:]}")
    return taken

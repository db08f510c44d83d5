"""How much of torchvision's own speed a detector keeps at inference, and what a whole mammogram takes."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from monai.bundle import ConfigParser

from common.data.bundle import config_files
from common.reports.memory import peak_memory


def compare_inference(rounds: int, **overrides: Any) -> dict[str, float]:
    """Return images per second of the bundle's evaluator and of a bare loop over the same loader, in turn.

    The bare loop is what torchvision's reference does: images to the device, the network, results to the CPU.

    Args:
        rounds: of both; the first is left out of the medians.
        overrides: of the config of training, whose validation images are read.
    """
    parser = ConfigParser()
    parser.read_config(config_files("cbis_maskrcnn"))
    parser.update({**overrides, "mlflow": False, "validate#key_metric": None, "validate#handlers": []})
    evaluator, loader = (parser.get_parsed_content(f"validate#{name}") for name in ("evaluator", "dataloader"))
    network, device = evaluator.network.eval(), torch.device(parser.get_parsed_content("device"))
    arms = {"bundle": evaluator.run, "torchvision": lambda: _reference(network, loader, device)}
    times: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, arm in arms.items():
            begin = time.perf_counter()
            arm()
            times[name].append(time.perf_counter() - begin)
    return {name: len(loader.dataset) / median(taken[1:]) for name, taken in times.items()}


def _reference(network: torch.nn.Module, loader: Any, device: torch.device) -> None:
    with torch.inference_mode():
        for batch in loader:
            found = network([item["image"].to(device) for item in batch])
            [{key: value.cpu() for key, value in one.items()} for one in found]


def measure_whole(folder: Path, output_dir: Path, **overrides: Any) -> tuple[float, float]:
    """Return seconds for each image of a folder through `inference.json`, files written, and the peak memory (MiB).

    Args:
        folder: of mammograms.
        output_dir: where the results go.
        overrides: of the config.
    """
    parser = ConfigParser()
    parser.read_config(config_files("cbis_maskrcnn", first="inference"))
    parser.update({**overrides, "dataset_dir": str(folder), "output_dir": str(output_dir)})
    evaluator = parser.get_parsed_content("evaluator")
    with peak_memory() as peak:
        begin = time.perf_counter()
        evaluator.run()
        taken = time.perf_counter() - begin
    return taken / len(evaluator.data_loader.dataset), peak[0]

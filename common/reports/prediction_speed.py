"""How long a study takes from DICOM to report, in how much memory, and where the time goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ignite.handlers import BasicTimeProfiler
from monai.bundle import ConfigParser

from common.data.bundle import bundle_root, config_files
from common.reports.memory import peak_memory

TWO_CLASS = {"threshold": 0.5, "level": "image", "rule": "mean", "thresholds": {"fixed=.5": 0.5}}
POINTS: dict[str, dict[str, Any]] = {
    "rsna_classifier": TWO_CLASS,
    "cbis_patch_classifier": TWO_CLASS,
    "cbis_maskrcnn": {"score_threshold": 0.05, "classes": ["mass"]},
}


@dataclass(frozen=True)
class Speed:
    """Seconds of a study of so many images."""

    images: int
    cold: float  # from the start of the process to its end
    start: float  # building the network and loading its weights, in this process
    warm: float
    reading: float  # of the warm study: reading and preprocessing
    network: float
    writing: float
    peak_mib: float  # of the cold process, at most
    warm_mib: float  # beyond what was there, while the warm study ran


def random_weights(name: str, folder: Path, **settings: Any) -> Path:
    """Return a folder of a bundle's own weights, or else of random ones with some operating point."""
    if name not in POINTS:
        return Path(bundle_root(name)) / "models"
    torch.manual_seed(0)
    parser = ConfigParser()
    parser.read_config(config_files(name, first="inference"))
    parser.update({**settings, "pretrained": False})
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(parser.get_parsed_content("network_def").state_dict(), folder / "model.pt")
    (folder / "model.json").write_text(json.dumps(POINTS[name]))
    return folder


def measure_prediction(name: str, study: Path, weights: Path, folder: Path, **settings: Any) -> Speed:
    """Predict a study in a process of its own, and then in this one, where all is loaded: that is the warm one.

    Args:
        name: of the bundle.
        study: its folder.
        weights: folder of ``model.pt`` and ``model.json``.
        folder: for results.
        settings: overrides of the config.
    """
    cold, peak = _cold(name, study, weights, folder / "cold", settings)
    begin = time.perf_counter()
    parser = ConfigParser()
    parser.read_config(config_files(name, first="inference"))
    places = {"dataset_dir": str(study), "output_dir": str(folder / "warm"), "ckpt_dir": str(weights)}
    parser.update({**settings, **places, "dicom": True})
    evaluator = parser.get_parsed_content("evaluator")
    start = time.perf_counter() - begin
    profiler = BasicTimeProfiler()
    profiler.attach(evaluator)
    with peak_memory() as warm_peak:
        begin = time.perf_counter()
        evaluator.run()
        warm = time.perf_counter() - begin
    found = profiler.get_results()
    reading, network = (float(found[key]["total"]) for key in ("dataflow_stats", "processing_stats"))
    images = len(list(study.rglob("*.dcm")))
    return Speed(images, cold, start, warm, reading, network, warm - reading - network, peak, warm_peak[0])


def _cold(name: str, study: Path, weights: Path, output: Path, settings: dict[str, Any]) -> tuple[float, float]:
    """Return the seconds of a whole process, and its peak memory (MiB)."""
    call = "import json, sys; from common.reports.prediction import predict_images; "
    call += "predict_images(**json.loads(sys.argv[1]))"
    given = {"images": str(study), "bundle": bundle_root(name), "output_dir": str(output), "ckpt_dir": str(weights)}
    begin = time.perf_counter()
    words = [sys.executable, "-c", call, json.dumps({**given, **settings})]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(words, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)  # this child's own peak, not that of all so far
        taken = time.perf_counter() - begin
        if status:
            said.seek(0)
            raise ValueError(f"{name} fails: {said.read().decode()[-2000:]}")
    return taken, used.ru_maxrss / 2**10


def describe(speeds: dict[str, Speed]) -> str:
    """Return a table."""
    lines = ["| bundle | images | cold | warm | reading | network | writing | peak memory, cold | warm, beyond |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for name, s in speeds.items():
        parts = " | ".join(f"{100 * part / s.warm:.0f} %" for part in (s.reading, s.network, s.writing))
        memory = f"{s.peak_mib:.0f} MiB | {s.warm_mib:.0f} MiB"
        lines.append(f"| `{name}` | {s.images} | {s.cold:.1f} s | {s.warm:.1f} s | {parts} | {memory} |")
    return "\n".join(lines)

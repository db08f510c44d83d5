"""Run a bundle's configs in this process."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from common.data.bundle import config_files
from common.data.workflow import run_config


def run_bundle(
    bundle: str, kind: str, first: str = "train", experiment: str | None = None, more: tuple = (), **overrides: Any
) -> None:
    """Run `kind` ("train" or "eval") of the configs `first`, the experiment's chain and `more`."""
    run_config(config_files(bundle, experiment, *more, first=first), kind, **overrides)


def train_in_two_processes(bundle: str, experiment: str | None = None, **overrides: Any) -> None:
    """Train by torchrun over gloo, on one core each."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--standalone"]
    files = ",".join(f"'{name}'" for name in config_files(bundle, experiment, "multi_gpu_train"))
    words = [word for key, value in overrides.items() for word in (f"--{key}", str(value))]
    command = [*launch, "-m", "monai.bundle", "run", "training", "--config_file", f"[{files}]", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]

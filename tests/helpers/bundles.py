"""Run a bundle's configs in this process."""

from __future__ import annotations

from typing import Any

from cross_validate import run_config

from common.data.bundle import config_files


def run_bundle(
    bundle: str, kind: str, first: str = "train", experiment: str | None = None, more: tuple = (), **overrides: Any
) -> None:
    """Run `kind` ("train" or "eval") of the configs `first`, the experiment's chain and `more`."""
    run_config(config_files(bundle, experiment, *more, first=first), kind, **overrides)

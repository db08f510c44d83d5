"""Run a bundle's configs in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow


def run_config(configs: Sequence[str], kind: str, **overrides: Any) -> None:
    """Run a config with its overlays.

    Args:
        configs: their paths, each overruling those before it.
        kind: "train", "eval" or "infer".
        overrides: of the config.
    """
    meta = str(Path(configs[0]).with_name("metadata.json"))
    workflow = ConfigWorkflow(list(configs), meta_file=meta, logging_file=False, workflow_type=kind, **overrides)
    workflow.initialize()
    workflow.run()
    workflow.finalize()

"""Where a bundle lies, and where its runs go."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import common


def bundle_root(name: str) -> str:
    """Return the folder of a bundle: ``bundles/<name>`` in a checkout, or the packed bundle that holds ``common``."""
    house = Path(common.__file__).resolve().parent.parent
    checkout = house / "bundles" / name
    return str(checkout if checkout.is_dir() else house)


def new_run_dir(name: str, run_name: str) -> str:
    """Return ``runs/<bundle>/<time>-<run name>`` below the current folder, a place for one run's output."""
    return str(Path("runs") / name / f"{datetime.now():%Y%m%d-%H%M%S}-{run_name}")

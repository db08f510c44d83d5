"""Where a bundle lies, and where its runs go."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import common
from common.data.files import read_json


def bundle_root(name: str) -> str:
    """Return the folder of a bundle: ``bundles/<name>`` in a checkout, or the packed bundle that holds ``common``."""
    house = Path(common.__file__).resolve().parent.parent
    checkout = house / "bundles" / name
    return str(checkout if checkout.is_dir() else house)


def chained(bundle: str, experiment: str | Sequence[str] | None) -> list[str]:
    """Return the overlays of an experiment in their order: those that it says it comes ``after``, then itself.

    Args:
        bundle: its name.
        experiment: one name, or several joined by commas or in a list; chains are not repeated.

    Raises:
        FileNotFoundError: the bundle has no such experiment.
    """
    if experiment is None:
        return []
    folder = Path(bundle_root(bundle)) / "configs" / "experiments"
    result: list[str] = []
    for name in experiment.split(",") if isinstance(experiment, str) else experiment:
        if not (folder / f"{name}.json").is_file():
            known = sorted(path.stem for path in folder.glob("*.json"))
            raise FileNotFoundError(f"Bundle {bundle} has no experiment '{name}'; its experiments are {known}.")
        before = read_json(folder / f"{name}.json").get("after", [])
        result += [one for one in [*before, name] if one not in result]
    return result


def config_files(
    bundle: str, experiment: str | Sequence[str] | None = None, *more: str, first: str = "train"
) -> list[str]:
    """Return the paths of a bundle's config, an experiment's overlays, and what comes after them."""
    names = [first, *(f"experiments/{name}" for name in chained(bundle, experiment)), *more]
    return [str(Path(bundle_root(bundle)) / "configs" / f"{name}.json") for name in names]


def new_run_dir(name: str, run_name: str) -> str:
    """Return ``runs/<bundle>/<time>-<run name>`` below the current folder, a place for one run's output."""
    return str(Path("runs") / name / f"{datetime.now():%Y%m%d-%H%M%S}-{run_name}")

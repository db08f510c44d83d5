"""From images to everything that a bundle's inference writes, and one JSON file of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from common.data.files import read_json, write_json
from common.data.packs import read_pack
from common.data.workflow import run_config

NOTICE = "Research use only. Not a medical device; not for diagnosis."
TABLES = ("predictions", "breasts", "patients", "dicom", "rejected")


def predict_images(
    images: str | os.PathLike,
    bundle: str | os.PathLike,
    output_dir: str | os.PathLike,
    ckpt_dir: str | os.PathLike | None = None,
    configs: Sequence[str] | None = None,
    **overrides: Any,
) -> dict[str, Any]:
    """Run inference with reports in DICOM, write ``predictions.json`` beside the rest, and return what it holds.

    Args:
        images: a file, or a folder in any structure.
        bundle: its folder, packed (and unpacked again) or not.
        output_dir: where everything goes.
        ckpt_dir: folder of the weights; the bundle's own by default.
        configs: paths of ``inference.json`` and its overlays; the bundle's own without any by default.
        overrides: of the config.

    Raises:
        FileNotFoundError: there are no images, or no weights.
    """
    root, given = Path(bundle), Path(images)
    weights = Path(ckpt_dir or root / "models")
    if not given.exists():
        raise FileNotFoundError(f"There is no '{images}'. Name a file or a folder of images.")
    if not (weights / "model.pt").is_file():
        raise FileNotFoundError(f"{root.name} has no weights in '{weights}': train it, and give --ckpt_dir.")
    settings = {"dicom": True, "bundle_root": str(root), "ckpt_dir": str(weights), **overrides}
    with tempfile.TemporaryDirectory() as alone:
        settings |= {"dataset_dir": str(_as_folder(given, Path(alone))), "output_dir": str(output_dir)}
        run_config(configs or [str(root / "configs" / "inference.json")], "infer", **settings)
    return _gather(Path(output_dir), root)


def _as_folder(given: Path, folder: Path) -> Path:
    """Return the folder itself, or one that holds the file alone."""
    if given.is_dir():
        return given
    (folder / given.name).symlink_to(given.resolve())
    return folder


def _gather(folder: Path, root: Path) -> dict[str, Any]:
    """Write what the tables say as JSON."""
    tables = {name: folder / f"{name}.csv" for name in TABLES}
    found: dict[str, Any] = {"bundle": root.name, "version": read_pack(root)["version"], "notice": NOTICE}
    found |= {name: _rows(path) for name, path in tables.items() if path.is_file()}
    if (folder / "detections.json").is_file():
        found["detections"] = read_json(folder / "detections.json")
    found["reports"] = sorted(path.name for path in (folder / "dicom").glob("*_sr.dcm"))
    write_json(folder / "predictions.json", found)
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    table = pd.read_csv(path)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


def summary(found: Mapping[str, Any]) -> str:
    """Return how many results, files set aside and reports there are, as a line."""
    rejected = len(found.get("rejected", []))
    return f"{len(found['predictions'])} results, {rejected} files set aside, {len(found['reports'])} reports"

"""From DICOM or pictures to results: pictures, JSON, and, for DICOM, a structured report and segmentations."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from cross_validate import run_config

from common.data.bundle import bundle_root, config_files
from common.data.files import read_json, write_json
from common.data.packs import read_pack, unpack
from common.reports.errors import run_command

NOTICE = "Research use only. Not a medical device; not for diagnosis."


def predict(
    input: str,
    bundle: str,
    output_dir: str = "predictions",
    ckpt_dir: str | None = None,
    experiment: str | None = None,
    **overrides: Any,
) -> None:
    """Write ``predictions.json`` and the tables, masks and overlays of the bundle's inference, and ``dicom/``.

    Args:
        input: a file, or a folder of files in any structure, such as a study.
        bundle: its name, or a packed bundle (.zip), of which weights and configs are used, and none of its code.
        output_dir: where everything goes; nothing is written elsewhere.
        ckpt_dir: folder of ``model.pt`` and ``model.json``; the bundle's own by default.
        experiment: whose overlays the weights were trained with.
        overrides: of the config, as in training.
    """
    if not Path(input).exists():
        raise FileNotFoundError(f"There is no '{input}'. Name a file or a folder of images.")
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(bundle).suffix == ".zip"
        root = unpack(bundle, Path(folder) / "bundle") if packed else Path(bundle_root(_known(bundle)))
        files = [str(root / "configs" / "inference.json")] if packed else []
        weights = Path(ckpt_dir or root / "models")
        if not (weights / "model.pt").is_file():
            raise FileNotFoundError(f"{root.name} has no weights in '{weights}': train it, and give --ckpt_dir.")
        given = {"dicom": True, "bundle_root": str(root), "ckpt_dir": str(weights), **overrides}
        run_config(
            files or config_files(root.name, experiment, first="inference"),
            "infer",
            dataset_dir=str(_as_folder(Path(input), Path(folder) / "input")),
            output_dir=output_dir,
            **given,
        )
        _summarise(Path(output_dir), root)


def _known(bundle: str) -> str:
    """Return the name of a bundle that there is.

    Raises:
        ValueError: there is none of that name.
    """
    names = sorted(path.name for path in Path(bundle_root("")).iterdir() if (path / "configs").is_dir())
    if bundle not in names:
        raise ValueError(f"There is no bundle '{bundle}'; give one of {', '.join(names)}, or a packed one (.zip).")
    return bundle


def _as_folder(given: Path, folder: Path) -> Path:
    """Return the folder itself, or one that holds the file alone."""
    if given.is_dir():
        return given
    folder.mkdir()
    (folder / given.name).symlink_to(given.resolve())
    return folder


def _summarise(folder: Path, root: Path) -> None:
    """Write what the tables say as JSON, and print where everything lies."""
    tables = {name: folder / f"{name}.csv" for name in ("predictions", "breasts", "patients", "dicom", "rejected")}
    found = {name: _rows(path) for name, path in tables.items() if path.is_file()}
    who = {"bundle": root.name, "version": read_pack(root)["version"], "notice": NOTICE}
    detections = folder / "detections.json"
    more = {"detections": read_json(detections)} if detections.is_file() else {}
    write_json(folder / "predictions.json", {**who, **found, **more})
    reports = len(list((folder / "dicom").glob("*_sr.dcm")))
    print(f"{len(found['predictions'])} results, {len(found.get('rejected', []))} files set aside, {reports} reports")
    print(f"{folder / 'predictions.json'}\n{NOTICE}")


def _rows(path: Path) -> list[dict[str, Any]]:
    table = pd.read_csv(path)
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


if __name__ == "__main__":
    run_command(predict)

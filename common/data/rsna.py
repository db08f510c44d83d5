"""The RSNA screening set: its table, and one of its images made ready. Free of torch."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import pandas as pd
import pydicom

from common.data.breast import bounding_box, breast_mask
from common.data.dicom.tags import describe
from common.data.mammogram import read_mammogram, write_mammogram
from common.data.pixels import without_warnings
from common.data.quality import quality_flags

REQUIRED = ("patient_id", "image_id", "laterality", "view")
LABELS = (
    *("site_id", "age", "cancer", "biopsy", "invasive", "BIRADS", "implant", "density", "machine_id"),
    "difficult_negative_case",
)


def read_table(source_dir: str | os.PathLike) -> pd.DataFrame:
    """Return Kaggle's ``train.csv``, identifiers as text.

    Raises:
        FileNotFoundError: there is none.
        ValueError: columns are missing, or an image stands in it twice.
    """
    path = Path(source_dir) / "train.csv"
    if not path.is_file():
        raise FileNotFoundError(
            f"No train.csv in '{source_dir}'. Expected train.csv and train_images/ as Kaggle packs them."
        )
    table = pd.read_csv(path, dtype={"patient_id": str, "image_id": str})
    missing = [column for column in (*REQUIRED, "cancer") if column not in table]
    if missing:
        raise ValueError(f"{path} lacks the columns {missing}; it has {list(table.columns)}.")
    twice = table["image_id"][table["image_id"].duplicated()].tolist()
    if twice:
        raise ValueError(f"{path} holds {len(twice)} images twice: {twice[:5]}. Fetch it again.")
    return table


def facts_of(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a row's labels as JSON has them: empty cells left out, whole numbers whole."""
    found: dict[str, Any] = {}
    for key in (*REQUIRED, *LABELS):
        value = row.get(key)
        if value is None or (isinstance(value, float) and math.isnan(value)):
            continue
        value = value.item() if hasattr(value, "item") else value
        found[key] = int(value) if isinstance(value, float) and value.is_integer() else value
    return found


def look_at_one(job: dict[str, Any]) -> dict[str, Any]:
    """Read a DICOM file's header alone, for a datalist that uses it in place; return where it lies, or why not.

    Args:
        job: ``id`` and ``source`` (absolute).
    """
    try:
        with without_warnings():
            dataset = pydicom.dcmread(job["source"], stop_before_pixels=True)
            facts = describe(dataset)
            shape = [int(dataset.Rows), int(dataset.Columns)]
    except Exception as error:
        return {"id": job["id"], "reason": f"its header cannot be read ({type(error).__name__}). Fetch it again."}
    spacing = list(facts["pixel_spacing"]) if facts["pixel_spacing"] else None
    found = {"id": job["id"], "image": job["source"], "source_shape": shape, "pixel_spacing": spacing}
    return {**found, "quality_flags": [], "header_view": facts["view"], "header_laterality": facts["laterality"]}


def prepare_one(job: dict[str, Any]) -> dict[str, Any]:
    """Read a DICOM file, make it smaller, write it; return where it lies, or the reason why it does not.

    Args:
        job: ``id``, ``source``, ``target`` (both absolute), ``max_size``, ``bits``, ``exact``, ``crop``, and what the
            table says of ``laterality`` and ``implant``.

    Raises:
        OSError: the result cannot be written, which is no fault of the file.
    """
    cv2.setNumThreads(1)
    record = {"id": job["id"]}
    try:
        image, facts = read_mammogram(job["source"], job["max_size"], job["exact"])
    except (OSError, ValueError, MemoryError) as error:
        return {**record, "reason": f"{error}" or type(error).__name__}
    breast = breast_mask(image)
    flags = quality_flags(image, job["laterality"], job["implant"], breast)
    box = bounding_box(breast) if job["crop"] else None
    top, bottom, left, right = box or (0, image.shape[0], 0, image.shape[1])
    image = image[top:bottom, left:right]
    write_mammogram(job["target"], image, job["bits"])
    spacing = facts["pixel_spacing"]
    return {
        **record,
        "shape": list(image.shape),
        "crop": [top, bottom, left, right] if box else None,
        "quality_flags": flags,
        "source_shape": list(facts["source_shape"]),
        "pixel_spacing": list(spacing) if spacing else None,
        "voi": facts["voi"],
        "header_view": facts["view"],
        "header_laterality": facts["laterality"],
    }

"""From a folder of mammograms, in studies of any structure, to items: what each header says, and no patient's name.

Patients are numbered in the order of their files; the identifier in the header is used to tell them apart, and kept
nowhere.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pydicom
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from common.data.dicom.tags import MAMMOGRAPHY, laterality, unsuited, view
from common.data.files import write_csv
from common.data.folder import picture_files
from common.data.mammogram_items import BREAST, join_views, single
from common.data.pixels import SUFFIXES, is_dicom, without_warnings
from common.reports.errors import refusal_of

logger = logging.getLogger(__name__)
MAMMOGRAMS = (*SUFFIXES, ".npy", ".nii", ".nii.gz")
KEYWORDS = ("PatientID", "ViewPosition", "ImageLaterality", "Laterality", "ViewCodeSequence", "PatientOrientation")
OTHERS = ("SharedFunctionalGroupsSequence", "StudyInstanceUID", "Modality", "PresentationIntentType", "SOPClassUID")


def study_items(
    folder: str | os.PathLike, output_dir: str | os.PathLike, views: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Return the items of a folder of DICOM files or pictures, one by one or a breast's views together.

    Headers alone are read; what proves unreadable later is set aside then (`SafeDataset`).

    Args:
        folder: of DICOM, PNG, JPEG, TIFF, ``.npy`` or NIfTI files, in any structure.
        output_dir: where ``rejected.csv`` goes.
        views: see `common.data.mammogram_items.mammogram_items`.

    Raises:
        FileNotFoundError: there is no such folder, or no mammogram in it.
    """
    patients: dict[str, str] = {}
    items, rejected, root = [], [], Path(folder)
    for file in tqdm(picture_files(folder, MAMMOGRAMS), desc="Reading headers", unit="image"):
        item = {"image": str(file), "name": file.relative_to(root).as_posix()}
        try:
            found = _header(file, patients)
            if reason := found.pop("unsuited"):
                rejected.append({"image": item["name"], "reason": str(reason)})
            else:
                items.append({**item, **found})
        except Exception as error:
            rejected.append({"image": item["name"], "reason": f"header cannot be read: {type(error).__name__}"})
    if views is not None:
        lacking = [item for item in items if not all(item[k] for k in BREAST) or item["view"] not in views]
        reason = f"view, side or patient is not said, or the view is none of {', '.join(views)}"
        rejected += [{"image": item["name"], "reason": f"{reason} ({item['view'] or 'unsaid'})"} for item in lacking]
        items = [item for item in items if item not in lacking]
    note_rejected(output_dir, rejected)
    if not items:
        raise FileNotFoundError(
            f"No mammogram in '{folder}' can be used ({len(rejected)} set aside, see rejected.csv in {output_dir})."
        )
    joined = [single(item) for item in items] if views is None else join_views(items, views, label="")
    places = {item["image"]: item["name"] for item in items}
    return [{**item, "sources": [places.get(path, "") for path in item["image"]]} for item in joined]


def _header(file: Path, patients: dict[str, str]) -> dict[str, str | None]:
    """Return view, laterality and a number for the patient; None or "" for what is not said."""
    if not is_dicom(file):
        return {"view": "", "laterality": "", "patient_id": None, "unsuited": None}
    with without_warnings():
        dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=[*KEYWORDS, *OTHERS])
        found = {"view": view(dataset) or "", "laterality": laterality(dataset) or ""}
        found["unsuited"] = unsuited(dataset, MAMMOGRAPHY) or ""
        person = str(dataset.get("PatientID") or dataset.get("StudyInstanceUID") or "")
    number = patients.setdefault(person, f"patient_{len(patients) + 1:05d}") if person else None
    return {**found, "patient_id": number}


def note_rejected(output_dir: str | os.PathLike, rows: Sequence[dict[str, str]]) -> None:
    """Add files with their reasons to ``rejected.csv``."""
    path = Path(output_dir) / "rejected.csv"
    table = pd.DataFrame(list(rows), columns=["image", "reason"])
    known = pd.read_csv(path) if path.is_file() else table.iloc[:0]
    write_csv(path, table if known.empty else pd.concat([known, table]).drop_duplicates("image"))


class SafeDataset(Dataset):
    """A dataset in which one bad file stops nothing: its item has a ``reason``, and zeros that nobody looks at.

    Args:
        data: items.
        transform: of each.
        frame: shape of an image (V, 1, H, W).
    """

    def __init__(self, data: Sequence[dict[str, Any]], transform: Any, frame: Sequence[int]) -> None:
        self.data, self.transform, self.frame = list(data), transform, tuple(frame)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = {**self.data[index], "reason": None}
        try:
            return self.transform(item)
        except Exception as error:
            reason = refusal_of(error) or error
            nothing = [None] * len(item["views"])
            empty = {"image": torch.zeros(self.frame), "traces": nothing, "reasons": nothing}
            return {**item, **empty, "reason": str(reason)}

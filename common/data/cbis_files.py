"""Find CBIS-DDSM's mammograms, masks and crops in whatever folders a downloader has put them, by their content.

TCIA's tools lay the same files out as ``CASE/<study UID>/<series UID>/000001.dcm`` (what the CSV files name),
``CASE/<date>-DDSM-<n>/1-ROI mask images-<n>/000000.dcm``, or ``CASE/<date>-…/1.000000-…/1-1.dcm``; ``CASE`` is
``Mass-Training_P_00001_LEFT_CC`` for a mammogram, and the same with ``_1`` for the first abnormality in it. The names
of folders and files within a case do not tell mask from crop: in many cases they are swapped, or lie in one folder.
What they hold does: a mask has two values and is as large as the mammogram, a crop is grey and smaller.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pydicom

from common.data.dicom.stored import stored_values
from common.data.pixels import is_dicom, without_warnings

CASE = re.compile(r"^(Mass|Calc)-(Training|Test)_P_\d+_(LEFT|RIGHT)_[A-Z]+(_\d+)?$")
SAME_SHAPE = 0.02  # of height over width, that a mask of another size may be off and still be enlarged


@dataclass
class AbnormalityFiles:
    """What was found of an abnormality: its mask, bool at the mammogram's size, its crop, and what was mended."""

    mask: np.ndarray
    mask_path: Path
    crop_path: Path | None = None
    remarks: list[str] = field(default_factory=list)


def index_cases(source_dir: str | os.PathLike) -> dict[str, list[Path]]:
    """Return the DICOM files below each case's folder, wherever in the download it lies.

    Raises:
        FileNotFoundError: there is no such folder, or no case in it.
    """
    root, found = Path(source_dir), defaultdict[str, list[Path]](list)
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder '{source_dir}'. Name the one that TCIA's downloader filled.")
    for folder, _, names in os.walk(root):
        case = next((part for part in reversed(Path(folder).relative_to(root).parts) if CASE.match(part)), None)
        if case is not None:
            files = [Path(folder) / name for name in sorted(names)]
            found[case] += [file for file in files if file.suffix.lower() == ".dcm" or is_dicom(file)]
    if not found:
        raise FileNotFoundError(f"'{source_dir}' holds no folder such as 'Mass-Training_P_00001_LEFT_CC'.")
    return {case: sorted(files) for case, files in sorted(found.items())}


def read_stored(path: Path) -> np.ndarray:
    """Return the stored values (H, W) of a DICOM file.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        with without_warnings():
            return stored_values(pydicom.dcmread(path))
    except Exception as error:
        raise ValueError(f"{path.name} cannot be read ({error})") from error


def is_mask(values: np.ndarray) -> bool:
    """Tell whether values (H, W) are a mask: one or two values, and no more."""
    low, high = values.min(), values.max()
    return bool(((values == low) | (values == high)).all())


def mammogram_file(files: Sequence[Path]) -> Path:
    """Return the one mammogram among a case's files.

    Raises:
        ValueError: there is none, or several.
    """
    if not files:
        raise ValueError("the mammogram's file is missing")
    grey = [file for file in files if len(files) == 1 or not is_mask(read_stored(file))]
    if len(grey) != 1:
        raise ValueError(f"{len(grey)} of {len(files)} files are mammograms: expected one")
    return grey[0]


def abnormality_files(files: Sequence[Path], shape: tuple[int, int]) -> AbnormalityFiles:
    """Tell an abnormality's mask from its crop by what they hold.

    Args:
        files: of the abnormality's case.
        shape: of its mammogram.

    Raises:
        ValueError: no file is a mask, the mask is empty, there are several different ones, or its shape is not the
            mammogram's.
    """
    if not files:
        raise ValueError("the files of mask and crop are missing")
    values = {file: read_stored(file) for file in files}
    masks = {file: v for file, v in values.items() if is_mask(v)}
    crops = [file for file in files if file not in masks]
    if not masks:
        raise ValueError(f"none of {len(files)} files is a mask: all are grey")
    remarks = []
    filled = {file: v > v.min() for file, v in masks.items() if v.max() > v.min()}
    if not filled:
        raise ValueError("the mask is all black")
    path = max(filled, key=lambda file: filled[file].size)
    if len(filled) > 1:
        if any(not np.array_equal(fitted(filled[path], mask.shape), mask) for mask in filled.values()):
            raise ValueError(f"there are {len(filled)} different masks for one abnormality")
        remarks.append("several equal masks")
    mask = filled[path]
    if mask.shape != shape:
        mask = fitted(mask, shape)
        remarks.append(f"mask of {filled[path].shape} enlarged to {shape}")
    crop = crops[0] if crops else None
    if crop is None:
        remarks.append("no crop")
    elif any(c > s for c, s in zip(values[crop].shape, shape, strict=True)):
        remarks.append("crop larger than its mammogram: left out")
        crop = None
    return AbnormalityFiles(mask, path, crop, remarks)


def fitted(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return a mask (H, W) at another size of the same proportions.

    Raises:
        ValueError: the proportions are others.
    """
    if mask.shape == tuple(shape):
        return mask
    stretch = (shape[0] / mask.shape[0]) / (shape[1] / mask.shape[1])
    if abs(stretch - 1) > SAME_SHAPE:
        raise ValueError(f"the mask is {mask.shape} large, and its mammogram {tuple(shape)}: of other proportions")
    return cv2.resize(mask.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST).astype(bool)

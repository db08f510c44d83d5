"""Find the pictures of a folder that can be read."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pandas as pd
import pydicom
from tqdm import tqdm

from common.data.dicom.tags import ULTRASOUND, unsuited
from common.data.files import write_csv
from common.data.pixels import SUFFIXES, is_dicom, read_grey, without_warnings

logger = logging.getLogger(__name__)


def readable_images(folder: str | os.PathLike, output_dir: str | os.PathLike) -> list[dict[str, str]]:
    """Return an item for every picture below a folder, and note what cannot be read in ``rejected.csv``.

    An item has ``image``, the path; ``file``, the path below the folder; and ``name``, the latter without its
    suffix. Where two pictures share a name, the suffix stays.

    Args:
        folder: of PNG, JPEG, TIFF or DICOM files; DICOM is also recognised without a suffix.
        output_dir: where ``rejected.csv`` (image, reason) goes.

    Raises:
        FileNotFoundError: there is no such folder, or no picture in it can be read.
    """
    root, candidates = Path(folder), picture_files(folder)
    kept, rejected = [], []
    for file in tqdm(candidates, desc="Reading images", unit="image"):
        try:
            _check_modality(file)
            read_grey(file)
            kept.append(file)
        except ValueError as error:
            rejected.append({"image": str(file.relative_to(root)), "reason": str(error)})
    write_csv(Path(output_dir) / "rejected.csv", pd.DataFrame(rejected, columns=["image", "reason"]))
    if rejected:
        logger.warning(f"{len(rejected)} files were set aside; see {Path(output_dir) / 'rejected.csv'}")
    if not kept:
        raise FileNotFoundError(
            f"No image in '{folder}' can be read ({len(rejected)} set aside). Expected {', '.join(SUFFIXES)} files."
        )
    return [
        {"image": str(file), "file": str(file.relative_to(root)), "name": name}
        for file, name in zip(kept, _names(kept, root), strict=True)
    ]


def _check_modality(file: Path) -> None:
    """Refuse a DICOM image that is no ultrasound.

    Raises:
        ValueError: and says what it is, or why its header cannot be read.
    """
    if not is_dicom(file):
        return
    try:
        with without_warnings():
            reason = unsuited(pydicom.dcmread(file, stop_before_pixels=True), ULTRASOUND)
    except Exception as error:
        raise ValueError(f"header cannot be read: {type(error).__name__}") from error
    if reason:
        raise ValueError(reason)


def picture_files(folder: str | os.PathLike, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """Return the files below a folder that may be pictures, by suffix, or as DICOM without one; sorted.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}'. Name a folder of images.")
    return sorted(file for file in root.rglob("*") if file.is_file() and _may_be_picture(file, suffixes))


def _may_be_picture(file: Path, suffixes: tuple[str, ...]) -> bool:
    hidden = any(part.startswith(".") for part in file.parts[1:] if part not in (".", ".."))
    return not hidden and (file.name.lower().endswith(suffixes) or (not file.suffix and is_dicom(file)))


def _names(files: list[Path], root: Path) -> list[str]:
    stems = [file.relative_to(root).with_suffix("").as_posix() for file in files]
    return [
        stem if stems.count(stem) == 1 else file.relative_to(root).as_posix().replace(".", "_")
        for stem, file in zip(stems, files, strict=True)
    ]

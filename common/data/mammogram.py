"""Read a mammogram from any of the formats that it comes in, as a radiologist sees it. Free of torch."""

from __future__ import annotations

import gzip
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import tifffile
from pydicom import uid

from common.data.dicom import reduced
from common.data.dicom.display import padding_is_dark, shown
from common.data.dicom.stored import encapsulated_frame, refuse_unless_grey_frame, stored_values
from common.data.dicom.tags import describe
from common.data.files import write_whole
from common.data.pixels import is_dicom, read_grey, without_warnings

Size = int | tuple[int, int]
EMPTY: dict[str, Any] = {
    "view": None,
    "laterality": None,
    "pixel_spacing": None,
    "implant": None,
    "photometric_interpretation": None,
    "voi": None,
}


def read_mammogram(
    path: str | os.PathLike, max_size: Size | None = None, exact: bool = False, window: str | int | None = None
) -> tuple[np.ndarray, dict[str, Any]]:
    """Read a mammogram from DICOM, PNG, JPEG, TIFF, ``.npy`` or NIfTI.

    Args:
        path: the file; DICOM is told by its content.
        max_size: the result is made smaller by area, its shape kept, until it fits: pixels of the longer side,
            or (rows, columns). JPEG 2000 is then decoded only as far as that needs.
        exact: always decode in full.
        window: VOI window or table of a DICOM file by its explanation, or window by its place; else the first.

    Returns:
        float32 (H, W) in [0, 1], rows first, tissue bright; and a dictionary of view, laterality, pixel_spacing
        ((row, column) in mm, of the returned pixels), implant, photometric_interpretation, voi and source_shape.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: what is wrong with the file, what was expected, and what to do.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is gone. Prepare the data set again, or put the file back.")
    try:
        with without_warnings():
            image, facts = _read(Path(path), max_size, exact, window)
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {error}. Fetch the file again or take it out.") from error
    facts["source_shape"] = facts.get("source_shape", image.shape)
    target = fit(facts["source_shape"], max_size)
    if image.shape != target:
        image = cv2.resize(image, target[::-1], interpolation=cv2.INTER_AREA)
    if facts["pixel_spacing"]:
        scale = [s / t for s, t in zip(facts["source_shape"], target, strict=True)]
        facts["pixel_spacing"] = tuple(mm * k for mm, k in zip(facts["pixel_spacing"], scale, strict=True))
    return np.ascontiguousarray(image), facts


def fit(shape: tuple[int, int], max_size: Size | None) -> tuple[int, int]:
    """Return the shape (rows, columns) made smaller, its proportions kept, until it fits ``max_size``.

    >>> fit((3328, 2560), 832)
    (832, 640)
    >>> fit((100, 50), 200)
    (100, 50)
    """
    if max_size is None:
        return shape
    rows, columns = (max_size, max_size) if isinstance(max_size, int) else max_size
    scale = min(rows / shape[0], columns / shape[1], 1.0)
    return max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale))


def _read(path: Path, max_size: Size | None, exact: bool, window: str | int | None) -> tuple[np.ndarray, dict]:
    if is_dicom(path) or path.suffix.lower() in (".dcm", ".dicom"):
        return _read_dicom(path, max_size, exact, window)
    if path.suffix.lower() == ".npy":
        return _unit(np.load(path, mmap_mode="r", allow_pickle=False)), dict(EMPTY)
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return _read_nifti(path)
    if path.suffix.lower() in (".tif", ".tiff"):
        return _read_tiff(path), dict(EMPTY)
    return read_grey(path), dict(EMPTY)


def write_mammogram(path: str | os.PathLike, image: np.ndarray, bits: int = 16) -> Path:
    """Write an image (H, W) in [0, 1] as TIFF of 8 or 16 bits, whole or not at all.

    Zstandard with a horizontal predictor: as small as a PNG, and an order of magnitude faster to write.
    """
    if bits not in (8, 16):
        raise ValueError(f"--bits is 8 or 16, not {bits}.")
    words = np.round(image * np.float32(2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    options: dict[str, Any] = {"compression": "zstd", "compressionargs": {"level": 1}, "predictor": True}
    options |= {"rowsperstrip": len(words), "metadata": None}
    encoded = BytesIO()
    tifffile.imwrite(encoded, words, **options)
    return write_whole(path, lambda file: file.write(encoded.getbuffer()))


def write_map(path: str | os.PathLike, values: np.ndarray, spacing: tuple[float, float] | None = None) -> Path:
    """Write a map (H, W) in [0, 1] as NIfTI of 16 bits, x before y, so that viewers show it upright.

    Args:
        path: ends in .nii.gz.
        values: float.
        spacing: (row, column) in mm; unknown is 1.
    """
    import nibabel  # a large import, for the few files that need it

    row, column = spacing if spacing and not np.isnan(spacing).any() else (1.0, 1.0)
    words = np.round(np.clip(values, 0, 1) * np.float32(65535)).astype(np.uint16).T[..., None]
    image = nibabel.Nifti1Image(words, np.diag([-column, -row, 1.0, 1.0]))
    image.header.set_slope_inter(1 / 65535, 0)
    packed = gzip.compress(image.to_bytes(), compresslevel=1)
    return write_whole(path, lambda file: file.write(packed))


def _read_tiff(path: Path) -> np.ndarray:
    with tifffile.TiffFile(path) as file:
        if len(file.pages) > 1:
            raise ValueError(f"it holds {len(file.pages)} pages (expected one)")
        page = file.pages.first
        if page.photometric == tifffile.PHOTOMETRIC.MINISBLACK and page.bitspersample in (8, 16):
            return _unit(page.asarray())
    return read_grey(path)


def _open_dicom(path: Path) -> pydicom.Dataset:
    """Parse a DICOM file; some old ones are a bare data set without preamble and file meta information."""
    if is_dicom(path):
        return pydicom.dcmread(path)
    dataset = pydicom.dcmread(path, force=True)
    if "Rows" not in dataset:
        raise ValueError("it is no DICOM file (no 'DICM' after 128 bytes, and no data set from its start)")
    implicit, little = dataset.original_encoding
    native = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
    dataset.file_meta.TransferSyntaxUID = native if little else uid.ExplicitVRBigEndian
    return dataset


def _read_dicom(path: Path, max_size: Size | None, exact: bool, window: str | int | None) -> tuple[np.ndarray, dict]:
    dataset = _open_dicom(path)
    refuse_unless_grey_frame(dataset)
    shape = (int(dataset.Rows), int(dataset.Columns))
    target = fit(shape, max_size)
    image, name = None, ""
    if not exact and target != shape:
        image, name = _read_reduced(dataset, shape, target, window)
    if image is None:
        image, name = shown(stored_values(dataset), dataset, window)
    return image, {**describe(dataset), "voi": name, "source_shape": shape}


def _read_reduced(
    dataset: pydicom.Dataset, shape: tuple[int, int], target: tuple[int, int], window: str | int | None
) -> tuple[np.ndarray | None, str]:
    """Return the image at the target's size from a low band of its JPEG 2000 stream; None where that is not certain."""
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated or not padding_is_dark(dataset, window):
        return None, ""
    frame, header = encapsulated_frame(dataset)
    level = reduced.levels(header, dataset, target)
    if level == 0 or header is None:
        return None, ""
    image, name = shown(reduced.low_band(frame, header, level), dataset, window)
    return reduced.resample(image, level, shape, target), name


def _read_nifti(path: Path) -> tuple[np.ndarray, dict]:
    import nibabel  # a large import, for the few files that need it

    file = nibabel.load(path)
    values = np.asarray(file.dataobj).squeeze()  # type: ignore[attr-defined]
    zooms = file.header.get_zooms()  # type: ignore[attr-defined]
    return _unit(values.T), {**EMPTY, "pixel_spacing": (float(zooms[1]), float(zooms[0]))}


def _unit(values: np.ndarray) -> np.ndarray:
    """Return unsigned integers over their range, and floats in [0, 1] as they are."""
    if values.ndim != 2:
        raise ValueError(f"it holds an array of shape {values.shape} (expected one grey image, rows by columns)")
    if values.dtype in (np.uint8, np.uint16):
        return values.astype(np.float32) / np.iinfo(values.dtype).max
    if np.issubdtype(values.dtype, np.floating) and values.size and values.min() >= 0 and values.max() <= 1:
        return values.astype(np.float32)
    raise ValueError(f"it holds {values.dtype} values (expected uint8, uint16, or floats from 0 to 1)")

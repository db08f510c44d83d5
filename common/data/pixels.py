"""Read a picture from PNG, JPEG, TIFF or DICOM as grey values, whatever its mode.

Free of torch, so that preparing workers stay small. Mammograms in DICOM have a reader of their own.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image, UnidentifiedImageError
from pydicom.config import disable_value_validation
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's convert("L")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".dcm", ".dicom")


def is_dicom(path: str | os.PathLike) -> bool:
    """Tell by its content whether a file is DICOM Part 10 (``DICM`` after the preamble)."""
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep pydicom from warning of odd values, which it quotes: they may be a patient's name."""
    with disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_grey(path: str | os.PathLike) -> np.ndarray:
    """Read a picture as grey float32 (H, W) in [0, 1], rows first, as it is seen on a screen.

    Colour becomes luma (BT.601), an alpha channel is left out, palettes are looked up. In DICOM the
    modality and VOI look-up are applied and MONOCHROME1 is inverted.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no picture, is truncated, or holds several frames.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is gone. Prepare the data set again, or put the file back.")
    try:
        with without_warnings():
            return _read_dicom(path) if is_dicom(path) else _read_picture(path)
    except UnidentifiedImageError as error:
        raise ValueError(f"{path} is no picture that can be read (expected PNG, JPEG, TIFF or DICOM).") from error
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {error}. Fetch the file again or take it out.") from error


def read_mask(path: str | os.PathLike) -> np.ndarray:
    """Read a mask of mode 1, L, RGB or RGBA as bool (H, W): whatever is brighter than half the range."""
    return read_grey(path) > 0.5


def _read_picture(path: str | os.PathLike) -> np.ndarray:
    with Image.open(path) as file:
        image: Image.Image = file
        if image.mode in ("P", "PA", "CMYK", "YCbCr", "LAB", "HSV"):
            image = image.convert("RGB")
        elif image.mode in ("1", "LA"):
            image = image.convert("L")
        values = np.asarray(image)
    return _luma(values.astype(np.float32) / _white(values))


def _white(values: np.ndarray) -> float:
    if values.dtype == np.uint8:
        return 255.0
    if np.issubdtype(values.dtype, np.integer):  # Pillow gives 16 bit as I;16 or as I
        return 65535.0
    return 1.0


def _luma(values: np.ndarray) -> np.ndarray:
    """Return (H, W) from (H, W) or (H, W, channels); equal channels keep their value to the bit."""
    if values.ndim == 2:
        return values
    red = values[..., 0]
    if values.shape[2] < 3 or (np.array_equal(red, values[..., 1]) and np.array_equal(red, values[..., 2])):
        return np.ascontiguousarray(red)
    return values[..., :3] @ LUMA


def _read_dicom(path: str | os.PathLike) -> np.ndarray:
    dataset = pydicom.dcmread(path)
    if "PixelData" not in dataset:
        raise ValueError("it holds no pixel data (expected an image with PixelData (7FE0,0010))")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ValueError(f"it holds {frames} frames (expected one: save the frame that you mean as a file of its own)")
    values = dataset.pixel_array  # YBR is turned into RGB by pydicom
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        values = apply_color_lut(values, dataset) / 65535.0
    if values.ndim == 3:
        return _luma(values.astype(np.float32) / _white(values))
    return _window(values, dataset)


def _window(values: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Apply modality and VOI look-up, and scale the range that they can give to [0, 1] (PS3.3 C.11)."""
    bits, signed = int(dataset.BitsStored), bool(dataset.PixelRepresentation)
    limits = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1], np.float64)
    low, high = limits * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    values = apply_voi_lut(apply_modality_lut(values, dataset), dataset).astype(np.float32)
    grey = np.clip((values - low) / (high - low), 0, 1).astype(np.float32)
    return 1 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey

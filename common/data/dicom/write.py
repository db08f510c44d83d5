"""Write one grey frame as DICOM in any of the transfer syntaxes that mammograms come in."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from pydicom import Dataset, uid
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate

from common.data.files import write_whole

Encode = Callable[[np.ndarray, int], bytes]  # stored values (H, W) and their precision in bits


def _jpeg(values: np.ndarray, precision: int, **options: Any) -> bytes:
    words = (values.astype(np.int64) & ((1 << precision) - 1)).astype(np.uint8 if precision <= 8 else np.uint16)
    return bytes(imagecodecs.jpeg8_encode(words, bitspersample=precision, **options))


def _jpeg_ls(values: np.ndarray, precision: int, level: int = 0) -> bytes:
    """JPEG-LS knows no sign: words are written as they lie in memory, masked to their bits."""
    words = values.astype(np.int64) & ((1 << precision) - 1)
    return bytes(imagecodecs.jpegls_encode(words.astype(np.uint8 if precision <= 8 else np.uint16), level))


def _jpeg2000(values: np.ndarray, precision: int, reversible: bool = True, level: int = 0) -> bytes:
    kind = f"{'i' if values.min(initial=0) < 0 else 'u'}{1 if precision <= 8 else 2}"
    options: dict[str, Any] = {"codecformat": "j2k", "reversible": reversible, "bitspersample": precision}
    return bytes(imagecodecs.jpeg2k_encode(values.astype(kind), level, resolutions=6, **options))


ENCODERS: dict[str, Encode] = {
    uid.JPEGBaseline8Bit: partial(_jpeg, level=95),
    uid.JPEGExtended12Bit: partial(_jpeg, level=95),
    uid.JPEGLossless: partial(_jpeg, lossless=True, predictor=4),
    uid.JPEGLosslessSV1: partial(_jpeg, lossless=True, predictor=1),
    uid.JPEGLSLossless: _jpeg_ls,
    uid.JPEGLSNearLossless: partial(_jpeg_ls, level=2),
    uid.JPEG2000Lossless: _jpeg2000,
    uid.JPEG2000: partial(_jpeg2000, reversible=False, level=50),
}


def grey_dataset(values: np.ndarray, bits: int, syntax: str = uid.ExplicitVRLittleEndian, **elements: Any) -> Dataset:
    """Return a data set of one grey frame.

    Args:
        values: stored values (H, W), integers; negative ones make it signed.
        bits: BitsStored.
        syntax: transfer syntax; one of `ENCODERS`, RLE, or an uncompressed one.
        elements: further elements by keyword; they overrule what is set here, so that headers can be wrong.

    Raises:
        ValueError: the transfer syntax cannot be written.
    """
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = uid.DigitalMammographyXRayImageStorageForPresentation
    dataset.SOPClassUID, dataset.Modality = dataset.file_meta.MediaStorageSOPClassUID, "MG"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = 8 if bits <= 8 else 16
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(values.min(initial=0) < 0)
    for keyword in ("PixelRepresentation", "BitsAllocated"):  # other elements take their VR and length from these
        if keyword in elements:
            setattr(dataset, keyword, elements[keyword])
    _add_pixels(dataset, values, elements.pop("precision", bits))
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def _add_pixels(dataset: Dataset, values: np.ndarray, precision: int) -> None:
    syntax = dataset.file_meta.TransferSyntaxUID
    words = values.astype(np.int64) & ((1 << dataset.BitsAllocated) - 1)
    native = words.astype(f"{'<' if syntax.is_little_endian else '>'}u{dataset.BitsAllocated // 8}").tobytes()
    if syntax in ENCODERS:
        dataset.PixelData = encapsulate([ENCODERS[syntax](values, precision)])
        dataset["PixelData"].VR = "OB"
    elif syntax == uid.RLELossless:
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        dataset.PixelData = native
        dataset.compress(uid.RLELossless, generate_instance_uid=False)
    elif syntax.is_encapsulated:
        raise ValueError(f"Transfer syntax {syntax.name} cannot be written; those that can are {list(ENCODERS)}.")
    else:
        dataset.PixelData = native + b"\0" * (len(native) % 2)
        dataset["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 else "OW"


def write_dicom(path: str | os.PathLike, dataset: Dataset) -> Path:
    """Write a data set as a DICOM file, whole or not at all."""
    return write_whole(path, lambda file: dataset.save_as(file, enforce_file_format=True))

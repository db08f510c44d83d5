"""From a DICOM data set to its stored pixel values, whatever the transfer syntax (PS3.5 sections 8 and A.4)."""

from __future__ import annotations

from collections.abc import Callable

import imagecodecs
import numpy as np
import pydicom
from pydicom import uid
from pydicom.encaps import generate_fragmented_frames
from pydicom.pixels import pixel_array

from common.data.dicom.codestream import Codestream, parse

MAX_PIXELS = 2**27  # 134 million; the largest mammograms have 30 million
TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"  # Breast Tomosynthesis Image Storage

DECODERS: dict[str, Callable[[bytes], np.ndarray]] = {
    uid.JPEGBaseline8Bit: imagecodecs.jpeg8_decode,
    uid.JPEGExtended12Bit: imagecodecs.jpeg8_decode,
    uid.JPEGLossless: imagecodecs.jpeg8_decode,
    uid.JPEGLosslessSV1: imagecodecs.jpeg8_decode,
    uid.JPEGLSLossless: imagecodecs.jpegls_decode,
    uid.JPEGLSNearLossless: imagecodecs.jpegls_decode,
    uid.JPEG2000Lossless: imagecodecs.jpeg2k_decode,
    uid.JPEG2000: imagecodecs.jpeg2k_decode,
    uid.HTJ2KLossless: imagecodecs.htj2k_decode,
    uid.HTJ2KLosslessRPCL: imagecodecs.htj2k_decode,
    uid.HTJ2K: imagecodecs.htj2k_decode,
}


def refuse_unless_grey_frame(dataset: pydicom.Dataset) -> None:
    """Raise ValueError where the data set is not one grey frame, saying what it is and what to do."""
    frames = _whole(dataset, "NumberOfFrames", 1)
    if dataset.get("SOPClassUID") == TOMOSYNTHESIS:
        raise ValueError("it is a breast tomosynthesis volume (expected a 2-D mammogram: use the synthetic 2-D view)")
    if frames > 1:
        raise ValueError(f"it holds {frames} frames (expected one: save the frame that you mean as a file of its own)")
    if "PixelData" not in dataset:
        raise ValueError("it holds no pixel data (expected an image with PixelData (7FE0,0010); was it cut off?)")
    if _whole(dataset, "SamplesPerPixel", 1) != 1 or not str(dataset.get("PhotometricInterpretation")).startswith(
        "MONO"
    ):
        colour = dataset.get("PhotometricInterpretation")
        raise ValueError(f"it is a colour image ({colour}; expected MONOCHROME1 or MONOCHROME2)")
    pixels = _whole(dataset, "Rows", 0) * _whole(dataset, "Columns", 0)
    if not 0 < pixels <= MAX_PIXELS:
        size = f"{dataset.get('Rows')} x {dataset.get('Columns')}"
        raise ValueError(f"its header says {size} pixels (expected 1 to {MAX_PIXELS} pixels in all)")


def _whole(dataset: pydicom.Dataset, keyword: str, default: int) -> int:
    value = dataset.get(keyword)
    if value in (None, ""):
        return default
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{keyword} is '{value}' (expected a whole number)") from error


def encapsulated_frame(dataset: pydicom.Dataset) -> tuple[bytes, Codestream | None]:
    """Return the one compressed frame and its header, checked against the data set's size.

    Raises:
        ValueError: there is no frame, it is cut off, or its size is another than the data set says.
    """
    frame = b"".join(
        part for parts in generate_fragmented_frames(dataset.PixelData, number_of_frames=1) for part in parts
    )
    header = parse(frame)
    if header and (header.rows, header.columns) != (dataset.Rows, dataset.Columns):
        raise ValueError(
            f"the compressed frame has {header.rows} x {header.columns} pixels, "
            f"the header says {dataset.Rows} x {dataset.Columns}"
        )
    if header and header.components != 1:
        raise ValueError(f"the compressed frame has {header.components} components (expected one, grey)")
    return frame, header


def stored_values(dataset: pydicom.Dataset) -> np.ndarray:
    """Return the stored values (H, W) of a data set of one grey frame: uint16 or uint32, int32 or int64 where signed.

    Bits above BitsStored (old overlays) are left out, and the sign is PixelRepresentation's. Where a compressed
    frame disagrees, its bits are kept at its own precision and read with the data set's sign, as pydicom does.

    Raises:
        ValueError: the pixel data are cut off, damaged, or of a kind that is not read.
    """
    refuse_unless_grey_frame(dataset)
    syntax = dataset.file_meta.TransferSyntaxUID
    bits = _whole(dataset, "BitsStored", _whole(dataset, "BitsAllocated", 16))
    if not syntax.is_encapsulated:
        return _signed(_native(dataset, bits), bits, dataset)
    frame, header = encapsulated_frame(dataset)
    values = _decode(dataset, syntax, frame)
    if values.shape != (dataset.Rows, dataset.Columns):
        raise ValueError(f"its pixels decode to {values.shape} (expected {(dataset.Rows, dataset.Columns)})")
    return _signed(values, header.precision if header else bits, dataset)


def _native(dataset: pydicom.Dataset, bits: int) -> np.ndarray:
    """Return uncompressed words, shifted so that the lowest stored bit is the first."""
    allocated = _whole(dataset, "BitsAllocated", 16)
    if allocated not in (8, 16, 32):
        raise ValueError(f"BitsAllocated is {allocated} (expected 8, 16 or 32)")
    needed = dataset.Rows * dataset.Columns * allocated // 8
    if len(dataset.PixelData) < needed:
        raise ValueError(f"its pixel data are cut off: {len(dataset.PixelData)} bytes of {needed}")
    row = dataset.Columns * allocated // 8
    if len(dataset.PixelData) >= needed + max(row, 2):
        raise ValueError(f"it holds {len(dataset.PixelData)} bytes of pixels, its header asks for {needed}")
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    kind = f"{order}u{allocated // 8}"
    if order == ">" and allocated == 8 and dataset["PixelData"].VR == "OW":  # words of two swapped bytes
        words = np.frombuffer(dataset.PixelData, "<u2").byteswap().view(np.uint8)
    else:
        words = np.frombuffer(dataset.PixelData, kind, needed // (allocated // 8))
    shift = _whole(dataset, "HighBit", bits - 1) + 1 - bits
    values = words[: dataset.Rows * dataset.Columns].reshape(dataset.Rows, dataset.Columns)
    return values >> shift if shift > 0 else values


def _decode(dataset: pydicom.Dataset, syntax: uid.UID, frame: bytes) -> np.ndarray:
    decode = DECODERS.get(syntax)
    if decode is not None:
        try:
            return np.asarray(decode(frame))
        except Exception as error:
            raise ValueError(f"its {syntax.name} frame cannot be decoded ({error})") from error
    try:
        return pixel_array(dataset, raw=True)  # RLE, and whatever pydicom learns to read
    except NotImplementedError as error:
        return _by_itk(dataset, error)


def _by_itk(dataset: pydicom.Dataset, error: Exception) -> np.ndarray:
    """Return what ITK's GDCM reads, the last resort for a transfer syntax that nothing else knows."""
    import itk  # large, and never needed for the syntaxes above

    try:
        return itk.array_from_image(itk.imread(str(dataset.filename))).squeeze()
    except (AttributeError, RuntimeError):
        name = dataset.file_meta.TransferSyntaxUID.name
        raise ValueError(f"its transfer syntax, {name}, is one that nothing here decodes") from error


def _signed(values: np.ndarray, bits: int, dataset: pydicom.Dataset) -> np.ndarray:
    """Keep the lowest bits of each word and read them with the sign of PixelRepresentation."""
    size = values.dtype.itemsize
    unsigned = values.view(f"{values.dtype.byteorder}u{size}")
    words: np.ndarray = unsigned.astype(np.uint16 if size <= 2 else np.uint32)
    top = int(words.max(initial=0))
    if top >> bits:
        words = np.bitwise_and(words, (1 << bits) - 1)
    if _whole(dataset, "PixelRepresentation", 0) != 1:
        return words
    stored = _whole(dataset, "BitsStored", bits)
    if stored < bits and top < 1 << stored:  # the words were not sign-extended
        bits = stored
    sign = 1 << (bits - 1)
    return np.bitwise_xor(words, sign).astype(np.int64 if bits > 31 else np.int32) - sign

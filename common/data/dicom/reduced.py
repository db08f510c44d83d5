"""Decode JPEG 2000 only as far as the wanted size needs, and put the result where an area resize would.

The low band of r wavelet levels lies (2^r - 1) / 2 source pixels before an area resize by 2^r: its samples sit on
the first pixel of each block, not on the block's centre. The resampling takes that out.

Source: ISO/IEC 15444-1 Annex F (the 5/3 and 9/7 filters are symmetric about even samples).
"""

from __future__ import annotations

from io import BytesIO
from math import log2

import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from scipy.sparse import csr_matrix

from common.data.dicom.codestream import Codestream

MAX_PRECISION = 16


def levels(header: Codestream | None, dataset: pydicom.Dataset, size: tuple[int, int]) -> int:
    """Return how many wavelet levels can be left out so that the low band still covers ``size`` (rows, columns).

    0, the full decode, wherever the result is not certain: another codec, signed values or a sign that the header
    contradicts, several tiles, an image that does not begin at the grid's origin.
    """
    plain = header is not None and dataset.file_meta.TransferSyntaxUID in (uid.JPEG2000Lossless, uid.JPEG2000)
    if not plain or header is None or header.signed or dataset.get("PixelRepresentation") == 1:
        return 0
    if header.tiles != 1 or header.origin != (0, 0) or header.precision > MAX_PRECISION:
        return 0
    room = min(header.rows / size[0], header.columns / size[1])
    return max(0, min(header.levels, int(log2(room) + 1e-9)))


def low_band(frame: bytes, header: Codestream, level: int) -> np.ndarray:
    """Return the stored values (h, w) of the image at 1 / 2^level of its size, as uint16.

    Raises:
        ValueError: the stream is damaged.
    """
    try:
        with Image.open(BytesIO(frame)) as image:
            image.reduce = level  # type: ignore[assignment, method-assign]  # of Pillow's JPEG 2000 reader
            image.load()
            values = np.asarray(image)
    except Exception as error:
        raise ValueError(f"its JPEG 2000 frame cannot be decoded ({error})") from error
    container = 8 if values.dtype == np.uint8 else 16
    return values.astype(np.uint16) >> (container - header.precision)  # Pillow scales up to 8 or 16 bits


def overlap(source: int, target: int, level: int, samples: int) -> csr_matrix:
    """Return (target, samples) weights of an area resize along one axis, from the samples of a low band.

    Args:
        source: pixels of the full image along the axis.
        target: pixels of the result.
        level: of the low band, 0 for the image itself.
        samples: of the low band, ceil(source / 2^level).
    """
    step = source / target / 2**level
    shift = (2**level - 1) / 2 / 2**level  # sample i of the low band is centred this much before its block
    edges = np.arange(target + 1) * step + shift
    first = np.floor(edges[:-1] + 1e-9).astype(int)
    taps = int(np.ceil(step)) + 1
    places = first[:, None] + np.arange(taps)
    weights = np.minimum(edges[1:, None], places + 1) - np.maximum(edges[:-1, None], places)
    weights = np.clip(weights, 0, None) / step
    rows = np.repeat(np.arange(target), taps)
    clamped = np.clip(places, 0, samples - 1).ravel()
    return csr_matrix((weights.ravel().astype(np.float32), (rows, clamped)), shape=(target, samples))


def resample(band: np.ndarray, level: int, source: tuple[int, int], target: tuple[int, int]) -> np.ndarray:
    """Return float32 (rows, columns) of ``target``: the low band ``band`` (h, w) of an image of ``source`` pixels,
    resized by area on the grid that a resize of the full image has."""
    down, across = (overlap(s, t, level, n) for s, t, n in zip(source, target, band.shape, strict=True))
    return np.ascontiguousarray((across @ (down @ band.astype(np.float32, copy=False)).T).T)

"""Damage DICOM files in three hundred ways."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from pydicom import Dataset, uid

from common.data.dicom.write import grey_dataset

SYNTAXES = (uid.ExplicitVRLittleEndian, uid.JPEG2000Lossless, uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.RLELossless)
FLIPS = 24


def encoded(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def damaged() -> Iterator[tuple[str, bytes]]:
    """Yield (kind, bytes) of 300 damaged files: about 60 of each transfer syntax."""
    rng = np.random.default_rng(0)
    values = np.cumsum(rng.integers(0, 5, (96, 80)), 1) + 100
    for syntax in SYNTAXES:
        whole = encoded(grey_dataset(values, 12, syntax, WindowCenter=400, WindowWidth=800))
        for part in range(1, 20):
            yield "truncated", whole[: len(whole) * part // 20]
        for _ in range(FLIPS):
            changed = bytearray(whole)
            for place in rng.integers(132, len(whole), int(rng.integers(1, 12))):
                changed[place] ^= int(rng.integers(1, 256))
            yield "flipped", bytes(changed)
        yield from _wrong_headers(values, syntax)
        yield from _wrong_lengths(whole, rng)


def _wrong_headers(values: np.ndarray, syntax: str) -> Iterator[tuple[str, bytes]]:
    sizes = ((60000, 60000), (1, 65535), (0, 80), (97, 80), (96, 79))
    for rows, columns in sizes:
        yield "size", encoded(grey_dataset(values, 12, syntax, Rows=rows, Columns=columns))
    yield "nested", _deeply_nested(encoded(grey_dataset(values, 12, syntax)))
    tiny = grey_dataset(values, 12, syntax, Rows=60000, Columns=60000)
    if not uid.UID(syntax).is_encapsulated:
        tiny.PixelData = b"0123456789"
    yield "tiny", encoded(tiny)


def _deeply_nested(whole: bytes) -> bytes:
    """Put a sequence that holds itself 5,000 times over before the pixels' description (0028,0002)."""
    start = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    place = whole.find(b"\x28\x00\x02\x00US")
    return whole[:place] + start * 5000 + whole[place:]


def _wrong_lengths(whole: bytes, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Give elements lengths that are none: of the pixel data, of the rows, of any other."""
    for tag in (b"\xe0\x7f\x10\x00", b"\x28\x00\x10\x00", b"\x28\x00\x50\x10"):
        place = whole.find(tag)
        for length in (b"\xff\xff\xff\x7f", b"\x00\x00\x00\x00", b"\x03\x00\x00\x00"):
            at = place + (8 if tag == b"\xe0\x7f\x10\x00" else 6)
            yield "length", whole[:at] + length + whole[at + 4 :]
    yield "length", whole[:128] + b"DICM" + bytes(rng.integers(0, 256, 400, dtype=np.uint8))

"""Read what a compressed frame says of itself: size, precision, sign, wavelet levels; and whether it ends.

Sources: ISO/IEC 15444-1 Annex A (JPEG 2000), ISO/IEC 10918-1 Annex B (JPEG), ISO/IEC 14495-1 Annex C (JPEG-LS).
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import error as StructError
from struct import unpack_from

JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "
FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15 of JPEG, SOF55 of JPEG-LS


@dataclass(frozen=True)
class Codestream:
    """The header of a compressed frame."""

    rows: int
    columns: int
    components: int
    precision: int  # bits
    signed: bool = False
    levels: int = 0  # wavelet decompositions: how often the size can be halved
    tiles: int = 1
    origin: tuple[int, int] = (0, 0)  # of the image on the reference grid


def parse(frame: bytes) -> Codestream | None:
    """Return the header of a JPEG 2000, JPEG or JPEG-LS frame; None for what is none of them, such as RLE.

    Raises:
        ValueError: the header is damaged, or the stream does not end in its end-of-image marker: it was cut off.
    """
    if frame.startswith(JP2_SIGNATURE):  # a JP2 file where a bare codestream belongs
        frame = frame[max(frame.find(b"\xff\x4f\xff\x51"), 0) :]
    try:
        if frame.startswith(b"\xff\x4f\xff\x51"):
            found, what = _jpeg2000(frame), "JPEG 2000"
        elif frame.startswith(b"\xff\xd8"):
            found, what = _jpeg(frame), "JPEG"
        else:
            return None
    except (StructError, IndexError) as error:
        raise ValueError("the header of the compressed frame is damaged") from error
    if frame.rstrip(b"\x00")[-2:] != b"\xff\xd9" and b"\xff\xd9" not in frame[-16:]:
        raise ValueError(f"the {what} stream is cut off: it has no end-of-image marker")
    return found


def _jpeg2000(frame: bytes) -> Codestream:
    right, bottom, left, top, tile_width, tile_height, tile_x, tile_y = unpack_from(">8I", frame, 8)
    components, first = unpack_from(">HB", frame, 40)
    if not tile_width or not tile_height or right <= left or bottom <= top:
        raise ValueError("the JPEG 2000 header gives the image or its tiles no size")
    tiles = -(-(right - tile_x) // tile_width) * -(-(bottom - tile_y) // tile_height)
    levels = frame[_segment(frame, 0x52) + 9]  # COD: length 2, style 1, progression 1, layers 2, transform 1, marker 2
    return Codestream(
        bottom - top, right - left, components, (first & 0x7F) + 1, bool(first & 0x80), levels, tiles, (left, top)
    )


def _segment(frame: bytes, marker: int) -> int:
    """Return where the segment of a JPEG 2000 main header begins."""
    at = 2
    while frame[at + 1] != marker:
        if frame[at] != 0xFF or frame[at + 1] == 0x90:  # SOT: the main header is over
            raise ValueError("the JPEG 2000 header says nothing of its wavelet levels")
        at += 2 + unpack_from(">H", frame, at + 2)[0]
    return at


def _jpeg(frame: bytes) -> Codestream:
    at = 2
    while True:
        while frame[at] == 0xFF and frame[at + 1] == 0xFF:  # fill bytes
            at += 1
        if frame[at] != 0xFF:
            raise ValueError("the JPEG header is damaged")
        if frame[at + 1] in FRAME_MARKERS:
            precision, rows, columns, components = unpack_from(">BHHB", frame, at + 4)
            return Codestream(rows, columns, components, precision)
        at += 2 + unpack_from(">H", frame, at + 2)[0]

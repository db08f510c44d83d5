"""From stored values to what is shown: modality look-up, VOI window or look-up, padding, polarity (PS3.3 C.11, C.7.5).

The chain is a function of one value, so that it is worked out once for every value that occurs and looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pydicom

BREAST_PERCENTILES = (0.5, 99.5)
DARK = 0.05  # of the range: what is this close to the darkest value is background
SAMPLE = 512  # pixels a side that the percentiles are taken from


@dataclass(frozen=True)
class Window:
    """A VOI window: centre and width in modality units, and its function."""

    centre: float
    width: float
    function: str = "LINEAR"

    def __str__(self) -> str:
        return f"{self.function} {self.centre:g}/{self.width:g}"

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Map modality values to [0, 1] (C.11.2.1.2 and C.11.2.1.3)."""
        if self.function == "SIGMOID":
            power = np.clip(-4 * (values - self.centre) / self.width, -700, 700)
            return 1 / (1 + np.exp(power))
        exact = self.function == "LINEAR_EXACT"
        centre, width = (self.centre, self.width) if exact else (self.centre - 0.5, self.width - 1)
        if width == 0:  # LINEAR of width 1 is a step
            return (values > centre).astype(np.float64)
        return np.clip((values - centre) / width + 0.5, 0, 1)

    @property
    def valid(self) -> bool:
        """A width of at least 1 for LINEAR, above 0 otherwise."""
        finite = np.isfinite(self.centre) and np.isfinite(self.width)
        return bool(finite and (self.width >= 1 if self.function == "LINEAR" else self.width > 0))


@dataclass(frozen=True)
class LookUp:
    """A look-up table of a Modality or VOI LUT Sequence (C.11.1.1, C.11.2.1.1)."""

    first: int
    entries: np.ndarray  # (n,) float64
    bits: int
    name: str = ""

    def __str__(self) -> str:
        return f"LUT {self.name}".strip()

    def raw(self, values: np.ndarray) -> np.ndarray:
        """Look values up; what lies beyond an end takes the last entry there."""
        return self.entries[np.clip(np.floor(values - self.first), 0, len(self.entries) - 1).astype(np.int64)]

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Map modality values to [0, 1] of the table's output range."""
        return self.raw(values) / max(2.0**self.bits - 1, self.entries.max())


def _sequence(value: Any) -> list:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, list | tuple | pydicom.multival.MultiValue | pydicom.Sequence) else [value]


def _look_up(item: pydicom.Dataset, name_keyword: str, signed: bool) -> LookUp:
    number, first, bits = (int(v) for v in item.LUTDescriptor)
    number = (number & 0xFFFF) or 65536  # 0 stands for 65,536
    if signed and first > 0x7FFF:
        first -= 0x10000
    data = item.LUTData
    wide = len(data) >= 2 * number if isinstance(data, bytes) else True
    words = np.frombuffer(data, "<u2" if wide else "u1") if isinstance(data, bytes) else np.asarray(_sequence(data))
    if len(words) < number:
        raise ValueError(f"a look-up table holds {len(words)} entries of {number}")
    return LookUp(first, words[:number].astype(np.float64) % 2**16, bits, str(item.get(name_keyword, "") or ""))


def modality(dataset: pydicom.Dataset) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from stored to modality values: the LUT Sequence, or slope and intercept."""
    signed = dataset.get("PixelRepresentation") == 1
    tables = _sequence(dataset.get("ModalityLUTSequence"))
    if tables:
        return _look_up(tables[0], "ModalityLUTType", signed).raw
    slope, intercept = (float(dataset.get(k) or d) for k, d in (("RescaleSlope", 1), ("RescaleIntercept", 0)))
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise ValueError(f"its rescale slope is {slope}, its intercept {intercept}")
    return lambda values: values * slope + intercept


def windows(dataset: pydicom.Dataset) -> dict[str, Window]:
    """Return the valid VOI windows by their explanation, or by their place where they have none."""
    centres, widths = (_sequence(dataset.get(k)) for k in ("WindowCenter", "WindowWidth"))
    names = _sequence(dataset.get("WindowCenterWidthExplanation"))
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    found = {}
    for place, (centre, width) in enumerate(zip(centres, widths, strict=False)):
        window = Window(float(centre), float(width), function if function in ("SIGMOID", "LINEAR_EXACT") else "LINEAR")
        if window.valid:
            found[str(names[place]) if place < len(names) else str(place)] = window
    return found


def voi(dataset: pydicom.Dataset, named: str | int | None = None) -> Window | LookUp | None:
    """Return the VOI transform: the named one, or the first look-up table, or the first window; None if there is none.

    Raises:
        ValueError: no window or table has that name.
    """
    signed = dataset.get("PixelRepresentation") == 1
    tables = [_look_up(i, "LUTExplanation", signed) for i in _sequence(dataset.get("VOILUTSequence"))]
    every = windows(dataset)
    if named is None:
        return tables[0] if tables else next(iter(every.values()), None)
    by_name: dict[str, Window | LookUp] = {**{table.name: table for table in tables}, **every}
    places = list(every.values())
    if isinstance(named, int) and named < len(places):
        return places[named]
    if str(named) not in by_name:
        raise ValueError(f"it has no VOI window named '{named}' (it has {sorted(by_name)})")
    return by_name[str(named)]


def padding(dataset: pydicom.Dataset) -> tuple[int, int] | None:
    """Return the stored values from and to which pixels are padding (C.7.5.1.1.2); None if none is."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return None
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted(_stored(v, dataset) for v in (value, value if limit is None else limit))
    return low, high


def _stored(value: Any, dataset: pydicom.Dataset) -> int:
    """Read a value whose VR (US or SS) may be the wrong one with the pixels' own sign."""
    bits = 8 * max(1, int(dataset.get("BitsAllocated", 16)) // 8)
    unsigned = int(value) % (1 << bits)
    return unsigned - (1 << bits) if dataset.get("PixelRepresentation") == 1 and unsigned >> (bits - 1) else unsigned


def percentile_window(values: np.ndarray, is_padding: np.ndarray | None = None) -> Window:
    """Return a window from robust percentiles within the breast, for an image that carries none.

    Background is what lies within a twentieth of the range from its darkest value.

    Args:
        values: modality values (H, W), tissue bright.
        is_padding: bool (H, W), left out.
    """
    step = max(1, max(values.shape) // SAMPLE)
    sample = values[::step, ::step].astype(np.float64)
    sample = sample.ravel() if is_padding is None else sample[~is_padding[::step, ::step]]
    if not sample.size:
        return Window(0.5, 1.0, "LINEAR_EXACT")
    dark, bright = np.percentile(sample, (0.1, 99.9))
    breast = sample[sample > dark + DARK * (bright - dark)]
    low, high = np.percentile(breast if breast.size else sample, BREAST_PERCENTILES)
    if high <= low:
        low, high = sample.min(), sample.max()
    return Window((low + high) / 2, float(max(high - low, 1e-6)), "LINEAR_EXACT")


def padding_is_dark(dataset: pydicom.Dataset, named: str | int | None = None) -> bool:
    """Tell whether padding would be black without being set to it, and lies next to the first value that is not.

    Mixing padding with tissue, as a reduced decode does along their border, is then harmless.
    """
    pad, chosen = padding(dataset), voi(dataset, named)
    if pad is None:
        return True
    if chosen is None:
        return False
    near = 1 << max(0, int(dataset.get("BitsStored") or 16) - 4)
    around = np.arange(pad[0] - near, pad[1] + near + 1)
    grey = _chain(dataset, chosen, None)(around)
    inside = (around >= pad[0]) & (around <= pad[1])
    return bool(grey[inside].max() == 0 < grey.max())


def _chain(
    dataset: pydicom.Dataset, chosen: Window | LookUp, pad: tuple[int, int] | None
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from stored values to float32 in [0, 1]."""
    to_modality = modality(dataset)
    inverted = dataset.PhotometricInterpretation == "MONOCHROME1"

    def chain(stored: np.ndarray) -> np.ndarray:
        grey = chosen(to_modality(stored.astype(np.float64)))
        grey = 1 - grey if inverted else grey
        if pad is not None:
            grey = np.where((stored >= pad[0]) & (stored <= pad[1]), 0, grey)
        return np.clip(grey, 0, 1).astype(np.float32)

    return chain


def shown(values: np.ndarray, dataset: pydicom.Dataset, named: str | int | None = None) -> tuple[np.ndarray, str]:
    """Return float32 (H, W) in [0, 1] with tissue bright, and the name of the VOI transform that was used.

    Args:
        values: stored values (H, W), from `stored_values`.
        dataset: their header.
        named: a window or table by its explanation, or a window by its place.
    """
    pad, chosen = padding(dataset), voi(dataset, named)
    name = str(chosen)
    if chosen is None:
        chosen = _window_of_the_breast(values, dataset, pad)
        name = f"percentiles {chosen}"
    return _by_table(values, _chain(dataset, chosen, pad)), name


def _window_of_the_breast(values: np.ndarray, dataset: pydicom.Dataset, pad: tuple[int, int] | None) -> Window:
    sign = -1 if dataset.PhotometricInterpretation == "MONOCHROME1" else 1
    inside = None if pad is None else (values >= pad[0]) & (values <= pad[1])
    found = percentile_window(sign * modality(dataset)(values.astype(np.float32)), inside)
    return Window(sign * found.centre, found.width, found.function)


def _by_table(values: np.ndarray, chain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply a function of one value to an image: once per value that can occur, where that is less work."""
    low, high = int(values.min()), int(values.max())
    if high - low >= 1 << 16:
        return chain(values)
    words = values if values.dtype == np.uint16 else (values - low).astype(np.uint16)
    first = 0 if values.dtype == np.uint16 else low
    table = np.zeros(1 << 16, np.float32)
    table[low - first : high - first + 1] = chain(np.arange(low, high + 1))
    return cv2.LUT(words, table)

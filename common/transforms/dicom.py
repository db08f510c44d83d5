"""Load a mammogram from DICOM, PNG, JPEG, TIFF, ``.npy`` or NIfTI as a `MetaTensor` (1, H, W)."""

from __future__ import annotations

import os
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Transform

from common.data.mammogram import Size, read_mammogram
from common.transforms.each import EachKey

UNSAID: dict[str, Any] = {
    **dict.fromkeys(("view", "laterality", "photometric_interpretation", "voi", "quality_flags"), ""),
    "pixel_spacing": (float("nan"), float("nan")),
}


class LoadMammogram(Transform):
    """Load a mammogram as a radiologist sees it: (1, H, W) float32 in [0, 1], rows first, tissue bright.

    DICOM goes through modality look-up, VOI window or table, padding (to 0) and polarity; a file without a window is
    windowed by robust percentiles within the breast. Integers of the other formats are divided by their range.

    Metadata: ``view``, ``laterality``, ``pixel_spacing`` ((row, column) in mm), ``implant`` ("yes" or "no"),
    ``photometric_interpretation``, ``source_shape``, ``voi`` (what was used), ``filename_or_obj``, ``spatial_shape``,
    and ``quality_flags`` (none yet). What the source does not say is "", and NaN for the spacing, since batches cannot
    hold None. Nothing in it tells who the patient is.

    Args:
        max_size: make the image smaller by area until it fits: pixels of the longer side, or (rows, columns).
            JPEG 2000 is then decoded only as far as that needs, registered to an area resize of the full image.
        exact: always decode in full.
        window: VOI window or table by its explanation, or window by its place; else the first.

    Raises:
        FileNotFoundError: the file is gone.
        ValueError: it cannot be read as a mammogram; the message names the file, what was expected, and what to do.

    Example:
        >>> LoadMammogram(max_size=832)("1459541791.dcm").shape  # doctest: +SKIP
        torch.Size([1, 832, 640])

    Source: DICOM PS3.3 C.7.6.3, C.8.11.7 and C.11; PS3.5 section 8.
    """

    def __init__(self, max_size: Size | None = None, exact: bool = False, window: str | int | None = None) -> None:
        self.max_size = max_size if max_size is None or isinstance(max_size, int) else (max_size[0], max_size[1])
        self.exact, self.window = exact, window

    def __call__(self, path: str | os.PathLike) -> MetaTensor:
        values, facts = read_mammogram(path, self.max_size, self.exact, self.window)
        said = {key: value for key, value in facts.items() if value is not None}
        meta = {**UNSAID, **said, "filename_or_obj": str(path), "spatial_shape": values.shape}
        meta["implant"] = {None: "", True: "yes", False: "no"}[facts["implant"]]
        return MetaTensor(torch.from_numpy(values)[None], meta=meta)


class LoadMammogramd(EachKey):
    """Dictionary version of `LoadMammogram`."""

    def __init__(
        self,
        keys: KeysCollection,
        max_size: Size | None = None,
        exact: bool = False,
        window: str | int | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, LoadMammogram(max_size, exact, window), allow_missing_keys)

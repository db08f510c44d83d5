"""Load a grey picture or a mask as a `MetaTensor` (1, H, W)."""

from __future__ import annotations

import os

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Transform

from common.data.pixels import read_grey, read_mask
from common.transforms.each import EachKey


class LoadGrey(Transform):
    """Load PNG, JPEG, TIFF or DICOM as grey (1, H, W) float32 in [0, 1], rows first.

    Metadata carries ``filename_or_obj`` and ``spatial_shape``, the source's (H, W) in pixels, and nothing
    about the patient.

    Args:
        mask: read a mask instead: what is brighter than half the range becomes 1, the rest 0.

    Raises:
        FileNotFoundError: the file is gone.
        ValueError: it is no picture; the message names it.

    Example:
        >>> LoadGrey()("benign (1).png").shape  # doctest: +SKIP
        torch.Size([1, 471, 562])
    """

    def __init__(self, mask: bool = False) -> None:
        self.mask = mask

    def __call__(self, path: str | os.PathLike) -> MetaTensor:
        values = torch.from_numpy(read_mask(path) if self.mask else read_grey(path)).float()[None]
        meta = {"filename_or_obj": str(path), "spatial_shape": tuple(values.shape[1:])}
        return MetaTensor(values, meta=meta)


class LoadGreyd(EachKey):
    """Dictionary version of `LoadGrey`."""

    def __init__(self, keys: KeysCollection, mask: bool = False, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, LoadGrey(mask), allow_missing_keys)

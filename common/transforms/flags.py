"""Quality flags in an image's metadata: one string, so that batches collate, with a semicolon between flags."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Transform

from common.data.quality import quality_flags
from common.transforms.arrays import picture
from common.transforms.each import EachKey

KEY = "quality_flags"


def flags_of(image: torch.Tensor) -> list[str]:
    """Return the flags in an image's metadata."""
    written = image.meta.get(KEY, "") if isinstance(image, MetaTensor) else ""
    return [flag for flag in str(written).split(";") if flag]


def add_flags(image: torch.Tensor, flags: Iterable[str]) -> None:
    """Add flags to an image's metadata; one that is there already is not repeated."""
    if isinstance(image, MetaTensor):  # written even where there are none: a batch keeps only what all its items have
        image.meta[KEY] = ";".join(dict.fromkeys([*flags_of(image), *flags]))


class AssessQuality(Transform):
    """Write what is odd about a mammogram (1, H, W) in [0, 1] into its metadata as ``quality_flags``.

    Flags: ``not_a_mammogram``, ``inverted``, ``no_breast``, ``breast_cut_off``, ``laterality_disagreement``,
    ``implant`` (see `common.data.quality.quality_flags`). ``laterality`` and ``implant`` are read from the metadata.
    """

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        meta = image.meta if isinstance(image, MetaTensor) else {}
        implant = {"yes": True, "no": False}.get(str(meta.get("implant", "")))
        add_flags(image, quality_flags(picture(image), meta.get("laterality"), implant))
        return image


class AssessQualityd(EachKey):
    """Dictionary version of `AssessQuality`."""

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, AssessQuality(), allow_missing_keys)

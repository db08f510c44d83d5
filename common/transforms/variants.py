"""Enlarge a training set by fixed variants of each image, as BreastNet18 and paper 002 (Tübingen) do."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform

from common.data.warp import Warp, affine_matrix
from common.transforms.warp import sampled

VARIANTS: dict[str, dict[str, Any]] = {
    "original": {},
    "flipped down": {"mirror": (False, True)},
    "flipped across": {"mirror": (True, False)},
    "flipped both": {"mirror": (True, True)},
    "turned -30": {"degrees": -30.0},
    "turned +30": {"degrees": 30.0},
    "flipped across, turned -30": {"mirror": (True, False), "degrees": -30.0},
    "flipped across, turned +30": {"mirror": (True, False), "degrees": 30.0},
}


def with_variants(items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each item of a datalist eight times: as it is, and in seven variants named under ``variant``."""
    return [{**item, "variant": name} for item in items for name in VARIANTS]


class Variant(Transform):
    """Make one variant of an image (C, H, W); corners that a turn leaves empty are 0.

    Raises:
        ValueError: there is no variant of that name.
    """

    def __call__(  # type: ignore[override]
        self, image: torch.Tensor, name: str, mode: str = "bilinear"
    ) -> torch.Tensor:
        if name not in VARIANTS:
            raise ValueError(f"There is no variant '{name}': choose one of {list(VARIANTS)}.")
        shape = int(image.shape[1]), int(image.shape[2])
        return sampled(image, Warp(shape, affine_matrix(shape, **VARIANTS[name])).apply, mode, "zeros")


class Variantd(MapTransform):
    """Dictionary version of `Variant`: the item says which under ``variant_key``; without it nothing changes."""

    def __init__(
        self,
        keys: KeysCollection,
        variant_key: str = "variant",
        mode: str = "bilinear",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.variant_key, self.mode, self.make = variant_key, mode, Variant()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.make(result[key], result.get(self.variant_key, "original"), self.mode)
        return result

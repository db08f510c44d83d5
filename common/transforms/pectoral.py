"""Remove the pectoral muscle from MLO mammograms, or say why not."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform
from monai.utils import TraceKeys, ensure_tuple

from common.data.breast import breast_mask
from common.data.pectoral import find_pectoral, pectoral_mask
from common.data.quality import NO_PECTORAL
from common.transforms.arrays import check_same_size, picture, renewed
from common.transforms.each import EachKeyInvertible
from common.transforms.flags import add_flags

__all__ = ["RemovePectoral", "RemovePectorald", "pectoral_mask"]
LESION_IN_PECTORAL = "lesion_in_pectoral"
WITNESSES = 256  # pixels that tell whether an image still has the values that it had
AGREEMENT = 0.2  # of their deviation: the mean difference that resampling may leave


class RemovePectoral(InvertibleTransform):
    """Set the pectoral muscle of an MLO mammogram (1, H, W) in [0, 1] to background (0); other views are left alone.

    Metadata: ``pectoral`` is "removed" or the reason for which nothing was removed; for an MLO the flag
    ``pectoral_not_found`` then stands as well. View and laterality are read from the metadata.

    The inverse puts the muscle back into an image that still has its values, not into a mask or a probability map that
    travels back along the same way.

    Args:
        view: for images whose metadata do not say.

    Raises:
        ValueError: the image is not (1, H, W), or holds NaN.
    """

    def __init__(self, view: str | None = None) -> None:
        self.view = view

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        image = renewed(image)
        grey = picture(image)
        meta = image.meta if isinstance(image, MetaTensor) else {}
        view = meta.get("view") or self.view
        found = find_pectoral(grey, view, meta.get("laterality"), breast_mask(grey))
        meta["pectoral"] = found.reason or "removed"
        if found.mask is None:
            if view == "MLO":
                add_flags(image, [NO_PECTORAL])
            self.push_transform(image, extra_info={"place": None})
            return image
        muscle = torch.as_tensor(found.mask, device=image.device)
        removed = image.clone()
        removed[0, muscle] = 0
        self.push_transform(removed, extra_info=_memory(grey, found.mask))
        return removed

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        info = self.pop_transform(data)[TraceKeys.EXTRA_INFO]
        if info["place"] is None or not _is_same_image(data, info):
            return data
        result = data.clone()
        result[0].view(-1)[torch.as_tensor(info["place"])] = torch.as_tensor(info["values"]).to(result)
        return result


def _memory(grey: np.ndarray, muscle: np.ndarray) -> dict[str, Any]:
    """Return the removed pixels with their places, and some that were kept, spread over the image."""
    place, kept = np.flatnonzero(muscle), np.flatnonzero(~muscle)
    witnesses = kept[:: max(1, len(kept) // WITNESSES)]
    flat = grey.reshape(-1)
    return {"place": place, "values": flat[place].copy(), "kept": witnesses, "kept_values": flat[witnesses].copy()}


def _is_same_image(data: torch.Tensor, info: Mapping[str, Any]) -> bool:
    if data.shape[0] != 1 or data[0].numel() <= max(info["place"][-1], info["kept"][-1]):
        return False
    limit = AGREEMENT * max(float(info["kept_values"].std()), 1e-3)
    now = data.detach().cpu().numpy()[0].reshape(-1)[info["kept"]]
    return float(np.abs(now - info["kept_values"]).mean()) <= limit


class RemovePectorald(EachKeyInvertible):
    """Dictionary version of `RemovePectoral`; masks are left as they are.

    Args:
        keys: the images.
        mask_keys: lesion masks; one that reaches into the muscle has its image flagged ``lesion_in_pectoral``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        mask_keys: KeysCollection | None = None,
        view: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, RemovePectoral(view), allow_missing_keys)
        self.mask_keys = ensure_tuple(mask_keys) if mask_keys is not None else ()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            masks = [name for name in self.mask_keys if name in result]
            check_same_size(result, masks, key)
            whole, result[key] = result[key], self.transform(result[key])
            if any(bool(((result[name] > 0) & (result[key] != whole)).any()) for name in masks):
                add_flags(result[key], [LESION_IN_PECTORAL])
        return result

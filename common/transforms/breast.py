"""Crop a mammogram to the breast, turn its chest wall to the left, cut its border off; all can be undone."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import cv2
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Crop, Flip, Transform

from common.data.breast import Side, bounding_box, breast_mask, chest_wall_side
from common.data.quality import EXPECTED_SIDE, LATERALITY, NO_BREAST
from common.transforms.arrays import check_same_size, like, picture, renewed
from common.transforms.each import EachKey, EachKeyInvertible
from common.transforms.flags import add_flags

__all__ = [
    "ClearBackground",
    "ClearBackgroundd",
    "CropBorder",
    "CropBorderd",
    "CropBreast",
    "CropBreastd",
    "OrientBreast",
    "OrientBreastd",
    "breast_mask",
]
LESION_CUT = "lesion_outside_breast"
Slices = tuple[slice, slice]


class CropBreast(Crop):
    """Crop a mammogram (1, H, W) to the bounding box of its breast; film labels, tape and empty film fall away.

    Where no breast is found the image stays whole and is flagged ``no_breast``.

    Args:
        margin: pixels around the breast.
        margin_mm: millimetres around the breast instead, by ``pixel_spacing`` in the metadata.

    Raises:
        ValueError: the image is not (1, H, W), holds NaN, or lacks the spacing that ``margin_mm`` needs.

    Example:
        >>> image = torch.zeros(1, 200, 100)
        >>> image[0, 50:150, :40] = 0.5
        >>> rows, columns = CropBreast(margin=0)(image).shape[1:]
        >>> 100 <= rows < 105 and 40 <= columns < 45
        True
    """

    def __init__(self, margin: int = 16, margin_mm: float | None = None) -> None:
        super().__init__()
        self.margin, self.margin_mm = margin, margin_mm

    def box(self, image: torch.Tensor) -> Slices:
        """Return the rows and columns to keep."""
        found = bounding_box(breast_mask(picture(image)))
        if found is None:
            add_flags(image, [NO_BREAST])
            return slice(0, image.shape[1]), slice(0, image.shape[2])
        down, across = self._margins(image)
        top, bottom, left, right = found
        rows, columns = image.shape[1:]
        return (
            slice(max(0, top - down), min(rows, bottom + down)),
            slice(max(0, left - across), min(columns, right + across)),
        )

    def _margins(self, image: torch.Tensor) -> tuple[int, int]:
        if self.margin_mm is None:
            return self.margin, self.margin
        spacing = current_spacing(image)
        if spacing is None:
            raise ValueError("margin_mm needs pixel_spacing in the image's metadata. Give margin in pixels instead.")
        return round(self.margin_mm / spacing[0]), round(self.margin_mm / spacing[1])

    def __call__(self, image: torch.Tensor, lazy: bool | None = None) -> torch.Tensor:  # type: ignore[override]
        return self.crop(image, self.box(image))

    def crop(self, image: torch.Tensor, slices: Slices) -> torch.Tensor:
        """Crop any (C, H, W) to these rows and columns."""
        return super().__call__(image, slices)


def current_spacing(image: torch.Tensor) -> tuple[float, float] | None:
    """Return the (row, column) spacing in mm of an image's present pixels; None where its source did not say.

    ``pixel_spacing`` in the metadata is that of the image as it was loaded; the affine tells what became of it.
    """
    spacing = image.meta.get("pixel_spacing") if isinstance(image, MetaTensor) else None
    if spacing is None or not np.isfinite(spacing).all():
        return None
    scale = np.linalg.norm(np.asarray(image.affine)[:2, :2], axis=0)  # type: ignore[attr-defined]
    return float(spacing[0] * scale[0]), float(spacing[1] * scale[1])


class CropBreastd(EachKeyInvertible):
    """Dictionary version of `CropBreast`: ``keys`` are cropped together, to the breast in ``ref_key``.

    A mask in ``keys`` that loses pixels to the crop has its image flagged ``lesion_outside_breast``.

    Raises:
        ValueError: a mask has another size than the image; and as `CropBreast`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        ref_key: str = "image",
        margin: int = 16,
        margin_mm: float | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, CropBreast(margin, margin_mm), allow_missing_keys)
        self.ref_key = ref_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        check_same_size(result, self.key_iterator(result), self.ref_key)
        slices = self.transform.box(result[self.ref_key])
        for key in self.key_iterator(result):
            whole, result[key] = result[key], self.transform.crop(result[key], slices)
            if key != self.ref_key and torch.count_nonzero(whole) > torch.count_nonzero(result[key]):
                add_flags(result[self.ref_key], [LESION_CUT])
        return result


class OrientBreast(Flip):
    """Turn a mammogram (1, H, W) so that the chest wall is on the left, as the picture shows it.

    Metadata: ``chest_wall`` is the side that it was on; the flag ``laterality_disagreement`` is set where the
    laterality tag expects the other one (left breasts hang with the chest wall to the left). Where the picture does
    not tell, the tag does; where neither does, nothing is turned.
    """

    def __init__(self) -> None:
        super().__init__(spatial_axis=1)

    def side(self, image: torch.Tensor) -> Side | None:
        """Return the side of the chest wall, and note it in the metadata."""
        meta = image.meta if isinstance(image, MetaTensor) else {}
        expected: Side | None = EXPECTED_SIDE.get(str(meta.get("laterality")))
        seen = chest_wall_side(breast_mask(picture(image)))
        if seen and expected and seen != expected:
            add_flags(image, [LATERALITY])
        meta["chest_wall"] = seen or expected or ""
        return seen or expected

    def __call__(self, image: torch.Tensor, lazy: bool | None = None) -> torch.Tensor:
        return self.turn(image, self.side(image) == "right")

    def turn(self, image: torch.Tensor, mirrored: bool) -> torch.Tensor:
        """Mirror any (C, H, W), or note that it was left as it is."""
        if mirrored:
            return super().__call__(image)
        kept = renewed(image)
        self.push_transform(kept, extra_info={"mirrored": False})
        return kept

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        info = self.get_most_recent_transform(data).get("extra_info") or {}
        if info.get("mirrored", True):
            return super().inverse(data)
        self.pop_transform(data)
        return data


class OrientBreastd(EachKeyInvertible):
    """Dictionary version of `OrientBreast`: ``keys`` are turned together, by the breast in ``ref_key``."""

    def __init__(self, keys: KeysCollection, ref_key: str = "image", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, OrientBreast(), allow_missing_keys)
        self.ref_key = ref_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        check_same_size(result, self.key_iterator(result), self.ref_key)
        mirrored = self.transform.side(result[self.ref_key]) == "right"
        for key in self.key_iterator(result):
            result[key] = self.transform.turn(result[key], mirrored)
        return result


class ClearBackground(Transform):
    """Set to 0 what lies further than ``margin`` pixels from the breast in a mammogram (1, H, W): labels and tape.

    Where no breast is found nothing is set, and the image is flagged ``no_breast``.
    """

    def __init__(self, margin: int = 16) -> None:
        self.margin = margin

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        grey = picture(image)
        breast = breast_mask(grey)
        if not breast.any():
            add_flags(image, [NO_BREAST])
            return image
        distance = cv2.distanceTransform((~breast).astype(np.uint8), cv2.DIST_L2, 3)
        return like(image, np.where(distance > self.margin, 0, grey)[None])


class ClearBackgroundd(EachKey):
    """Dictionary version of `ClearBackground`."""

    def __init__(self, keys: KeysCollection, margin: int = 16, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, ClearBackground(margin), allow_missing_keys)


class CropBorder(Crop):
    """Cut a share of an image's height and width (C, H, W) off each side: scanned film has frames and streaks there.

    Raises:
        ValueError: the share leaves nothing.
    """

    def __init__(self, share: float = 0.01) -> None:
        super().__init__()
        if not 0 <= share < 0.5:
            raise ValueError(f"CropBorder cuts a share from 0 to below .5 off each side, not {share}.")
        self.share = share

    def __call__(self, image: torch.Tensor, lazy: bool | None = None) -> torch.Tensor:  # type: ignore[override]
        rows, columns = (int(side * self.share) for side in image.shape[1:])
        return super().__call__(image, (slice(rows, image.shape[1] - rows), slice(columns, image.shape[2] - columns)))


class CropBorderd(EachKeyInvertible):
    """Dictionary version of `CropBorder`."""

    def __init__(self, keys: KeysCollection, share: float = 0.01, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, CropBorder(share), allow_missing_keys)

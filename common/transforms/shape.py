"""Sizes and shapes: fit into a frame, pad to a square, random resized crops, wider masks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Crop, InvertibleTransform, MapTransform, Pad, RandomizableTransform, Resize, Transform
from monai.utils import ensure_tuple_rep

from common.transforms.arrays import like
from common.transforms.each import EachKey, EachKeyInvertible


class ResizeToFit(Resize):
    """Resize (C, H, W) as large as it fits into a frame with its aspect kept; pad afterwards to fill the frame.

    Args:
        spatial_size: the frame (rows, columns), or the length of its sides.
        mode: "bilinear", "nearest", "area", … of `torch.nn.functional.interpolate`.
        anti_aliasing: blur before making smaller.
    """

    def __init__(self, spatial_size: int | Sequence[int], mode: str = "bilinear", anti_aliasing: bool = False) -> None:
        self.frame = (spatial_size,) * 2 if isinstance(spatial_size, int) else tuple(int(v) for v in spatial_size)
        super().__init__(self.frame, mode=mode, anti_aliasing=anti_aliasing)

    def __call__(self, img: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:  # type: ignore[override]
        scale = min(side / have for side, have in zip(self.frame, img.shape[1:], strict=True))
        self.spatial_size = tuple(max(1, round(have * scale)) for have in img.shape[1:])
        return super().__call__(img, *args, **kwargs)


class ResizeToFitd(MapTransform, InvertibleTransform):
    """Dictionary version of `ResizeToFit`; ``mode`` is one for all keys, or one each ("nearest" for masks)."""

    def __init__(
        self,
        keys: KeysCollection,
        spatial_size: int | Sequence[int],
        mode: str | Sequence[str] = "bilinear",
        anti_aliasing: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        modes = ensure_tuple_rep(mode, len(self.keys))
        self.resizers = [ResizeToFit(spatial_size, m, anti_aliasing and m != "nearest") for m in modes]

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key, resizer in self.key_iterator(result, self.resizers):
            result[key] = resizer(result[key])
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key, resizer in self.key_iterator(result, self.resizers):
            result[key] = resizer.inverse(result[key])
        return result


class PadToSquare(Pad):
    """Pad the shorter side of (C, H, W) with zeros until it is as long as the other.

    Args:
        method: "symmetric" on both sides, or "end" on the right or below (which leaves a chest wall at the left).
    """

    def __init__(self, method: str = "symmetric") -> None:
        super().__init__()
        if method not in ("symmetric", "end"):
            raise ValueError(f"PadToSquare pads 'symmetric' or at the 'end', not '{method}'.")
        self.method = method

    def compute_pad_width(self, spatial_shape: Sequence[int]) -> tuple[tuple[int, int], ...]:  # type: ignore[override]
        lacks = [max(spatial_shape) - side for side in spatial_shape]
        before = [lack // 2 if self.method == "symmetric" else 0 for lack in lacks]
        return ((0, 0), *((first, lack - first) for first, lack in zip(before, lacks, strict=True)))


class PadToSquared(EachKeyInvertible):
    """Dictionary version of `PadToSquare`."""

    def __init__(self, keys: KeysCollection, method: str = "symmetric", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, PadToSquare(method), allow_missing_keys)


class DilateMask(Transform):
    """Widen what is set in a mask (C, H, W) by a number of pixels in all directions."""

    def __init__(self, radius: int = 1) -> None:
        if radius < 0:
            raise ValueError(f"A mask is widened by 0 pixels or more, not {radius}.")
        self.brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)

    def __call__(self, mask: torch.Tensor) -> torch.Tensor:
        channels = mask.detach().cpu().numpy().astype(np.float32)
        return like(mask, np.stack([cv2.dilate(channel, self.brush) for channel in channels]))


class DilateMaskd(EachKey):
    """Dictionary version of `DilateMask`."""

    def __init__(self, keys: KeysCollection, radius: int = 1, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, DilateMask(radius), allow_missing_keys)


class RandResizedCrop(RandomizableTransform, InvertibleTransform):
    """Crop a random part of (C, H, W) and resize it to ``spatial_size``, as torchvision's RandomResizedCrop does.

    Args:
        spatial_size: rows and columns of the result.
        scale: the range of the part's share of the area.
        ratio: the range of its width over its height, in multiples of the image's own.
        mode: of the resize.
    """

    def __init__(
        self,
        spatial_size: Sequence[int],
        scale: Sequence[float] = (0.8, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        mode: str = "bilinear",
    ) -> None:
        RandomizableTransform.__init__(self, 1.0)
        (self.low, self.high), self.ratio, self.mode = scale, tuple(ratio), mode
        self.cropper, self.resizer = Crop(), Resize(tuple(int(v) for v in spatial_size), mode=mode)
        self.slices = (slice(None), slice(None))

    def randomize(self, data: Any = None) -> None:
        """Draw the part of frames of the shape (H, W) given."""
        super().randomize(None)
        side = np.sqrt(self.R.uniform(self.low, self.high))
        stretch = np.exp(self.R.uniform(*np.log(self.ratio)) / 2)
        shares = min(1.0, side / stretch), min(1.0, side * stretch)
        sizes = [max(1, round(float(n * share))) for n, share in zip(data, shares, strict=True)]
        starts = [int(self.R.randint(n - size + 1)) for n, size in zip(data, sizes, strict=True)]
        self.slices = tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))  # type: ignore[assignment]

    def __call__(self, image: torch.Tensor, randomize: bool = True, mode: str | None = None) -> torch.Tensor:
        if randomize:
            self.randomize(image.shape[1:])
        return self.resizer(self.cropper(image, self.slices), mode=mode or self.mode)

    def inverse(self, data: MetaTensor) -> torch.Tensor:
        return self.cropper.inverse(self.resizer.inverse(data))  # type: ignore[arg-type]


class RandResizedCropd(MapTransform, RandomizableTransform, InvertibleTransform):
    """Dictionary version of `RandResizedCrop`: one draw for all keys; ``mode`` one for all, or one each."""

    def __init__(
        self,
        keys: KeysCollection,
        spatial_size: Sequence[int],
        scale: Sequence[float] = (0.8, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        mode: str | Sequence[str] = "bilinear",
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, 1.0)
        self.mode = ensure_tuple_rep(mode, len(self.keys))
        self.crop = RandResizedCrop(spatial_size, scale, ratio)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandResizedCropd:
        super().set_random_state(seed, state)
        self.crop.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        self.crop.randomize(result[self.first_key(result)].shape[1:])
        for key, mode in self.key_iterator(result, self.mode):
            result[key] = self.crop(result[key], randomize=False, mode=mode)
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.crop.inverse(result[key])
        return result

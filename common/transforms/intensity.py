"""Contrast of images in [0, 1]: CLAHE and auto contrast."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import RandomizableTransform, Transform
from skimage.exposure import equalize_adapthist

from common.transforms.arrays import like
from common.transforms.each import EachKey


class CLAHE(Transform):
    """Equalise the histogram of each channel of an image (C, H, W) in [0, 1] tile by tile, with limited contrast.

    Scikit-image's, on floats: OpenCV's has 65,536 bins for 16 bits, so many that its limit has no effect on a tile.

    Args:
        clip_limit: share of a tile's pixels that a grey value may count with; higher gives more contrast.
        tiles: down and across.

    Raises:
        ValueError: values outside [0, 1], or NaN.

    Source: Zuiderveld, Contrast limited adaptive histogram equalization, Graphics Gems IV (1994).
    """

    def __init__(self, clip_limit: float = 0.01, tiles: tuple[int, int] = (8, 8)) -> None:
        self.clip_limit, self.tiles = clip_limit, (int(tiles[0]), int(tiles[1]))

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        grey = image.detach().cpu().numpy()
        if not (np.isfinite(grey).all() and grey.min() >= 0 and grey.max() <= 1):
            raise ValueError(f"CLAHE takes values from 0 to 1, not {grey.min():g} to {grey.max():g}. Place it earlier.")
        size = [max(1, side // tiles) for side, tiles in zip(grey.shape[1:], self.tiles, strict=True)]
        return like(image, np.stack([equalize_adapthist(channel, size, self.clip_limit) for channel in grey]))


class CLAHEd(EachKey):
    """Dictionary version of `CLAHE`."""

    def __init__(
        self,
        keys: KeysCollection,
        clip_limit: float = 0.01,
        tiles: tuple[int, int] = (8, 8),
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, CLAHE(clip_limit, tiles), allow_missing_keys)


class AutoContrast(Transform):
    """Stretch each channel of an image (C, H, W) so that its darkest pixel is 0 and its brightest 1.

    Args:
        cutoff: share of the pixels at either end that is left out of account, and clipped.

    A constant channel stays as it is.
    """

    def __init__(self, cutoff: float = 0.0) -> None:
        if not 0 <= cutoff < 0.5:
            raise ValueError(f"AutoContrast leaves out a share from 0 to below .5 at either end, not {cutoff}.")
        self.cutoff = cutoff

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        values = image.detach().cpu().numpy().astype(np.float32)
        ends = np.quantile(values, [self.cutoff, 1 - self.cutoff], axis=(1, 2), keepdims=True).astype(np.float32)
        spread = ends[1] - ends[0]
        stretched = np.clip((values - ends[0]) / np.where(spread > 0, spread, 1), 0, 1)
        return like(image, np.where(spread > 0, stretched, values))


class AutoContrastd(EachKey):
    """Dictionary version of `AutoContrast`."""

    def __init__(self, keys: KeysCollection, cutoff: float = 0.0, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, AutoContrast(cutoff), allow_missing_keys)


class RandAutoContrast(RandomizableTransform):
    """`AutoContrast` with a probability."""

    def __init__(self, prob: float = 0.5, cutoff: float = 0.0) -> None:
        super().__init__(prob)
        self.stretch = AutoContrast(cutoff)

    def __call__(self, image: torch.Tensor, randomize: bool = True) -> torch.Tensor:
        if randomize:
            self.randomize(None)
        return self.stretch(image) if self._do_transform else image


class RandAutoContrastd(EachKey, RandomizableTransform):
    """Dictionary version of `RandAutoContrast`: one draw for all keys."""

    def __init__(
        self, keys: KeysCollection, prob: float = 0.5, cutoff: float = 0.0, allow_missing_keys: bool = False
    ) -> None:
        EachKey.__init__(self, keys, AutoContrast(cutoff), allow_missing_keys)
        RandomizableTransform.__init__(self, prob)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        self.randomize(None)
        return super().__call__(data) if self._do_transform else dict(data)


class RandBrightnessContrast(RandomizableTransform):
    """Scale the contrast of an image about .5 by up to 1 ± ``contrast``, and shift it by up to ± ``brightness``.

    Args:
        prob: of a change.
        brightness: share of the range [0, 1], drawn from -brightness to brightness.
        contrast: drawn from -contrast to contrast.
    """

    def __init__(self, prob: float = 0.5, brightness: float = 0.2, contrast: float = 0.2) -> None:
        super().__init__(prob)
        self.brightness, self.contrast = brightness, contrast
        self.scale, self.shift = 1.0, 0.0

    def randomize(self, data: Any = None) -> None:
        """Draw scale and shift."""
        super().randomize(None)
        self.scale = 1 + self.R.uniform(-self.contrast, self.contrast)
        self.shift = self.R.uniform(-self.brightness, self.brightness) + (1 - self.scale) / 2

    def __call__(self, image: torch.Tensor, randomize: bool = True) -> torch.Tensor:
        if randomize:
            self.randomize()
        return (image * self.scale).add_(self.shift) if self._do_transform else image


class RandBrightnessContrastd(EachKey, RandomizableTransform):
    """Dictionary version of `RandBrightnessContrast`: one draw for all keys."""

    def __init__(
        self,
        keys: KeysCollection,
        prob: float = 0.5,
        brightness: float = 0.2,
        contrast: float = 0.2,
        allow_missing_keys: bool = False,
    ) -> None:
        EachKey.__init__(self, keys, RandBrightnessContrast(prob, brightness, contrast), allow_missing_keys)
        RandomizableTransform.__init__(self, prob)

    def set_random_state(
        self, seed: int | None = None, state: np.random.RandomState | None = None
    ) -> RandBrightnessContrastd:
        super().set_random_state(seed, state)
        self.transform.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        self.transform.randomize()
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.transform(result[key], randomize=False)
        return result

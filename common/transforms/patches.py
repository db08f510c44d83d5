"""Cut a random patch out of an image and its map of instances: lesions, tissue and blank film in given shares."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from numpy.lib.stride_tricks import sliding_window_view
from torch.nn import functional as F

from common.data.batch import plain
from common.data.breast import breast_mask
from common.data.instances import boxes_of
from common.transforms.instances import INSTANCES

KINDS = ("lesion", "tissue", "blank")
Corner = tuple[int, int]


class RandPatchd(MapTransform, Randomizable):
    """Cut one patch out of each key (1, H, W), all at one place; an image that is smaller is padded with zeros.

    The place is drawn from a grid, where a patch holds a lesion, breast tissue without one, or neither; or, with
    ``centred``, a lesion and its surroundings stand in the middle, give or take.

    Args:
        keys: the image and its map of instances (`LoadInstancesd`).
        spatial_size: rows and columns of a patch.
        shares: how often a patch holds "lesion", "tissue" or "blank"; what an image lacks goes to the others.
        stride: pixels of the grid.
        centred: put lesions in the middle.
        jitter: how far from it, in shares of the patch, a centred lesion may stand.
        ref_key: the image, in [0, 1].
        instances_key: the map of instances.

    Raises:
        ValueError: an unknown kind of patch.
    """

    def __init__(
        self,
        keys: KeysCollection,
        spatial_size: tuple[int, int],
        shares: Mapping[str, float],
        stride: int = 128,
        centred: bool = False,
        jitter: float = 0.25,
        ref_key: str = "image",
        instances_key: str = INSTANCES,
    ) -> None:
        super().__init__(keys)
        if set(shares) - set(KINDS) or not sum(shares.values()) > 0:
            raise ValueError(f"Patches hold {KINDS}, each with its share, not {dict(shares)}.")
        self.size, self.shares = (int(spatial_size[0]), int(spatial_size[1])), dict(shares)
        self.stride, self.centred, self.jitter = stride, centred, jitter
        self.ref_key, self.instances_key = ref_key, instances_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.keys:
            result[key] = self._padded(result[key])
        top, left = self.draw(result[self.ref_key][0].numpy(), result[self.instances_key][0].numpy())
        for key in self.keys:
            result[key] = result[key][:, top : top + self.size[0], left : left + self.size[1]]
        return result

    def _padded(self, image: torch.Tensor) -> torch.Tensor:
        lacks = [max(0, side - have) for side, have in zip(self.size, image.shape[1:], strict=True)]
        return F.pad(plain(image), (0, lacks[1], 0, lacks[0]))

    def draw(self, image: np.ndarray, instances: np.ndarray) -> Corner:
        """Return the upper left corner of a patch of an image (H, W) with a map of instances (H, W)."""
        places = self._places(image, instances)
        kinds = [kind for kind in KINDS if len(places[kind]) and self.shares.get(kind, 0) > 0]
        if not kinds:  # a share of nothing that this image has: then any patch of it
            kinds = [kind for kind in KINDS if len(places[kind])]
        weights = np.array([self.shares.get(kind, 0) or 1e-9 for kind in kinds])
        kind = kinds[int(self.R.choice(len(kinds), p=weights / weights.sum()))]
        if kind == "lesion" and self.centred:
            return self._around(instances)
        row, column = places[kind][int(self.R.randint(len(places[kind])))]
        return int(row), int(column)

    def _places(self, image: np.ndarray, instances: np.ndarray) -> dict[str, np.ndarray]:
        """Return the corners (N, 2) of the grid's patches of each kind."""
        corners = [self._starts(have, side) for have, side in zip(instances.shape, self.size, strict=True)]
        lesion, tissue = (self._any(part, corners) for part in (instances > 0, breast_mask(image)))
        grid = np.stack(np.meshgrid(*corners, indexing="ij"), -1)  # (rows, columns, 2)
        return {"lesion": grid[lesion], "tissue": grid[tissue & ~lesion], "blank": grid[~tissue & ~lesion]}

    def _starts(self, have: int, side: int) -> np.ndarray:
        """Return where patches start along an axis; the last one ends where the image does."""
        return np.unique(np.append(np.arange(0, have - side + 1, self.stride), have - side))

    def _any(self, part: np.ndarray, corners: list[np.ndarray]) -> np.ndarray:
        """Return whether the patch at each corner holds any of a part, bool (rows, columns)."""
        rows = np.stack([part[start : start + self.size[0]].any(0) for start in corners[0]])
        return np.asarray(sliding_window_view(rows, self.size[1], axis=1)[:, corners[1]].any(-1))

    def _around(self, instances: np.ndarray) -> Corner:
        """Return the corner of a patch around one of the lesions, moved so that it lies within the image."""
        boxes, _ = boxes_of(instances, int(instances.max()))
        left, top, right, bottom = boxes[int(self.R.randint(len(boxes)))]
        moves = self.R.uniform(-self.jitter, self.jitter, 2)
        wanted = [
            (low + high) / 2 - side / 2 + move * side
            for low, high, side, move in zip((top, left), (bottom, right), self.size, moves, strict=True)
        ]
        limits = [have - side for have, side in zip(instances.shape, self.size, strict=True)]
        row, column = (int(np.clip(round(w), 0, limit)) for w, limit in zip(wanted, limits, strict=True))
        return row, column

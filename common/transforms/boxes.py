"""Boxes that go where their image goes: (N, 4) as (x1, y1, x2, y2) in pixels, x along the width, edges of pixels.

A box that frames the pixels of columns 3 to 7 runs from x = 3 to x = 8.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform


def _from_source(image: MetaTensor) -> np.ndarray:
    """Return the matrix (3, 3) from (y, x, 1) at pixel edges of the source file to those of the image as it is now."""
    if image.meta.get("distorted"):
        raise ValueError("The image was distorted since it was loaded. Place boxes before, and give them to RandWarpd.")
    affine = np.asarray(image.affine, dtype=np.float64)
    now = np.eye(3)
    now[:2, :2], now[:2, 2] = affine[:2, :2], affine[:2, -1]
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # an affine speaks of the centres of pixels
    loaded = np.asarray(image.meta.get("spatial_shape", (1, 1)), float)
    source = np.asarray(image.meta.get("source_shape", loaded), float)
    shrunk = np.diag([*(loaded / source), 1.0])
    return half @ np.linalg.inv(now) @ np.linalg.inv(half) @ shrunk


def _moved(boxes: torch.Tensor, matrix: np.ndarray) -> torch.Tensor:
    """Return the boxes that frame the corners of boxes (N, 4) after a matrix (3, 3) of (y, x, 1)."""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"Boxes are (N, 4) as (x1, y1, x2, y2), not {tuple(boxes.shape)}.")
    x1, y1, x2, y2 = boxes.detach().cpu().double().numpy().T
    corners = np.stack([[y, x, np.ones_like(x)] for y in (y1, y2) for x in (x1, x2)])  # (4, 3, N)
    y, x, _ = np.moveaxis(matrix @ corners, 1, 0)
    framed = np.stack([x.min(0), y.min(0), x.max(0), y.max(0)], 1)
    return torch.as_tensor(framed).to(boxes)


def boxes_to_image(boxes: torch.Tensor, image: MetaTensor) -> torch.Tensor:
    """Bring boxes (N, 4) from the source file's pixels to those of its image as it is now.

    Follows whatever the image's affine has followed: crops, flips, pads, resizes, rotations.
    """
    return _moved(boxes, _from_source(image))


def boxes_to_source(boxes: torch.Tensor, image: MetaTensor) -> torch.Tensor:
    """Bring boxes (N, 4) from the pixels of an image as it is now back to those of its source file."""
    return _moved(boxes, np.linalg.inv(_from_source(image)))


class PlaceBoxesd(MapTransform, InvertibleTransform):
    """Bring boxes (N, 4) of the source file's pixels to where ``ref_key`` is now; the inverse brings them back.

    Place it after the geometric transforms. What leaves the frame is clipped to it with ``clip``.
    """

    def __init__(
        self, keys: KeysCollection, ref_key: str = "image", clip: bool = False, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.ref_key, self.clip = ref_key, clip

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        image = result[self.ref_key]
        for key in self.key_iterator(result):
            boxes = boxes_to_image(torch.as_tensor(result[key]), image)
            if self.clip:
                height, width = image.shape[1:]
                boxes = torch.minimum(boxes.clamp(min=0), torch.tensor([width, height, width, height]).to(boxes))
            result[key] = boxes
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = boxes_to_source(torch.as_tensor(result[key]), result[self.ref_key])
        return result

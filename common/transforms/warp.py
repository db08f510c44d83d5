"""Flips, affine changes and distortions at random, sampled once: image, mask and boxes move together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.meta_obj import get_track_meta
from monai.transforms import InvertibleTransform, MapTransform, RandomizableTransform
from monai.utils import TraceKeys, ensure_tuple, ensure_tuple_rep

from common.data.warp import Warp, affine_matrix, grid_bend, optical_bend, piecewise_bend
from common.transforms.arrays import check_same_size, like

DISTORTIONS = ("optical", "grid", "piecewise")
OTHER_SIDE = {"L": "R", "R": "L"}
DISTORTED = "distorted"  # in the metadata: the affine alone does not tell where a pixel is


class RandWarp(RandomizableTransform, InvertibleTransform):
    """Flip, turn, scale, shear, shift and distort an image (C, H, W) at random, with one interpolation for all of it.

    Args:
        prob: of the affine change.
        flip_prob: (across, down).
        rotate: degrees, drawn from -rotate to rotate.
        scale: the range that an enlargement is drawn from; with ``keep_aspect`` the same for both sides.
        shear: degrees, drawn from -shear to shear.
        shift: share of the side, drawn from -shift to shift.
        distort_prob: of one distortion.
        distortions: the kinds that it is drawn from: "optical" (a lens), "grid" (columns and rows grow and shrink),
            "piecewise" (nodes of a 4 x 4 grid move).
        strength: of a distortion, 1 for the customary one: a lens of ±.05, cells ±.3, nodes by .03 of the frame.
        mode: "bilinear" or "nearest".
        padding: "zeros", "border" or "reflection".

    Raises:
        ValueError: an unknown distortion, or the image is not (C, H, W).

    The inverse brings pixels back to where they came from; what left the frame is padding.
    """

    def __init__(
        self,
        prob: float = 1.0,
        flip_prob: Sequence[float] = (0.0, 0.0),
        rotate: float = 0.0,
        scale: Sequence[float] = (1.0, 1.0),
        shear: float = 0.0,
        shift: float = 0.0,
        keep_aspect: bool = True,
        distort_prob: float = 0.0,
        distortions: Sequence[str] = DISTORTIONS,
        strength: float = 1.0,
        mode: str = "bilinear",
        padding: str = "zeros",
    ) -> None:
        RandomizableTransform.__init__(self, prob)
        unknown = sorted(set(distortions) - set(DISTORTIONS))
        if unknown:
            raise ValueError(f"Unknown distortions {unknown}: choose from {DISTORTIONS}.")
        self.flip_prob, self.rotate, (self.low, self.high) = tuple(flip_prob), rotate, scale
        self.shear, self.shift, self.keep_aspect = shear, shift, keep_aspect
        self.distort_prob, self.distortions, self.strength = distort_prob, tuple(distortions), strength
        self.mode, self.padding = mode, padding
        self.warp: Warp | None = None
        self.mirrored = False  # from side to side

    def randomize(self, data: Any = None) -> None:
        """Draw the change for frames of the shape (H, W) given."""
        super().randomize(None)
        shape = (int(data[0]), int(data[1]))
        matrix = self._draw_affine(shape)
        bend = self._draw_bend(shape) if self.R.random() < self.distort_prob else None
        self.warp = None if bend is None and np.array_equal(matrix, np.eye(3)) else Warp(shape, matrix, bend)

    def _draw_affine(self, shape: tuple[int, int]) -> np.ndarray:
        mirror = self.R.random() < self.flip_prob[0], self.R.random() < self.flip_prob[1]
        self.mirrored = mirror[0]
        if not self._do_transform:
            return affine_matrix(shape, mirror)
        degrees, shear = self.R.uniform(-self.rotate, self.rotate), self.R.uniform(-self.shear, self.shear)
        across = self.R.uniform(self.low, self.high)
        down = across if self.keep_aspect else self.R.uniform(self.low, self.high)
        shift = (self.R.uniform(-self.shift, self.shift) * shape[1], self.R.uniform(-self.shift, self.shift) * shape[0])
        return affine_matrix(shape, mirror, degrees, (across, down), shear, shift)

    def _draw_bend(self, shape: tuple[int, int]) -> np.ndarray:
        kind = self.distortions[self.R.randint(len(self.distortions))]
        if kind == "optical":
            return optical_bend(shape, self.strength * self.R.uniform(-0.05, 0.05))
        if kind == "grid":
            across, down = (self.strength * self.R.uniform(-0.3, 0.3, 5) for _ in range(2))
            return grid_bend(shape, across, down)
        return piecewise_bend(shape, np.clip(self.strength * self.R.normal(0, 0.03, (4, 4, 2)), -0.08, 0.08))

    def __call__(self, image: torch.Tensor, randomize: bool = True, mode: str | None = None) -> torch.Tensor:
        if image.ndim != 3:
            raise ValueError(f"RandWarp takes images (C, H, W), not {tuple(image.shape)}.")
        if randomize:
            self.randomize(image.shape[1:])
        mode = mode or self.mode
        result = image if self.warp is None else sampled(image, self.warp.apply, mode, self.padding)
        if get_track_meta() and isinstance(result, MetaTensor):
            self.push_transform(result, extra_info={"warp": self.warp, "mode": mode})
            result.meta.setdefault(DISTORTED, False)
            if self.warp is not None:
                result.affine = result.affine @ _as_affine(self.warp)
                result.meta[DISTORTED] = bool(image.meta.get(DISTORTED)) or self.warp.bend is not None  # type: ignore[attr-defined]
        return result

    def inverse(self, data: torch.Tensor) -> torch.Tensor:
        info = self.pop_transform(data)[TraceKeys.EXTRA_INFO]
        if info["warp"] is None:
            return data
        result = sampled(data, info["warp"].undo, info["mode"], self.padding)
        if isinstance(result, MetaTensor):
            result.affine = result.affine @ torch.linalg.inv(_as_affine(info["warp"]))
        return result


def sampled(image: torch.Tensor, sample: Callable[..., np.ndarray], mode: str, padding: str) -> torch.Tensor:
    """Return an image (C, H, W) each of whose channels was sampled anew, by a `Warp`'s ``apply`` or ``undo``."""
    channels = image.detach().cpu().numpy().astype(np.float32, copy=False)
    moved = [sample(np.ascontiguousarray(channel), mode, padding) for channel in channels]
    return like(image, moved[0][None] if len(moved) == 1 else np.stack(moved))


def _as_affine(warp: Warp) -> torch.Tensor:
    """Return the (4, 4) affine, rows before columns, of a warp's straight part."""
    affine = np.eye(4)
    affine[:2, :2], affine[:2, 3] = warp.matrix[:2, :2][::-1, ::-1], warp.matrix[:2, 2][::-1]
    return torch.as_tensor(affine)


class RandWarpd(MapTransform, RandomizableTransform, InvertibleTransform):
    """Dictionary version of `RandWarp`: one draw for all keys.

    Args:
        keys: images and masks.
        box_keys: boxes (N, 4) as (x1, y1, x2, y2) in the image's pixels, which move along.
        laterality_key: "L" or "R" in the item, which changes where the image is mirrored from side to side: a mirrored
            left breast looks like a right one.
        mode: one for all keys, or one each ("nearest" for masks).
        options: of `RandWarp`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        box_keys: KeysCollection | None = None,
        mode: str | Sequence[str] = "bilinear",
        laterality_key: str | None = None,
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, 1.0)
        self.box_keys = ensure_tuple(box_keys) if box_keys is not None else ()
        self.mode, self.laterality_key = ensure_tuple_rep(mode, len(self.keys)), laterality_key
        self.warper = RandWarp(**options)

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> RandWarpd:
        super().set_random_state(seed, state)
        self.warper.set_random_state(seed, state)
        return self

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        first = self.first_key(result)
        if first == ():
            return result
        self.warper.randomize(result[first].shape[1:])
        check_same_size(result, self.key_iterator(result), first)
        for key, mode in self.key_iterator(result, self.mode):
            result[key] = self.warper(result[key], randomize=False, mode=mode)
        if self.warper.warp is not None:
            self._move_boxes(result, self.warper.warp.boxes_to_output)
        if self.warper.mirrored and self.laterality_key in result:
            result[self.laterality_key] = OTHER_SIDE.get(result[self.laterality_key], result[self.laterality_key])
        return result

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result, warp = dict(data), None
        for key in self.key_iterator(result):
            warp = self.warper.get_most_recent_transform(result[key])[TraceKeys.EXTRA_INFO]["warp"]
            result[key] = self.warper.inverse(result[key])
        if warp is not None:
            self._move_boxes(result, warp.boxes_to_input)
        return result

    def _move_boxes(self, data: dict[Hashable, Any], move: Any) -> None:
        for key in self.box_keys:
            if key in data:
                boxes = torch.as_tensor(data[key])
                data[key] = torch.as_tensor(move(boxes.detach().cpu().numpy())).to(boxes)

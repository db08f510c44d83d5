"""Detect in a large image tile by tile, and merge what several tiles saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from torch.nn import functional as F

from common.networks.merging import fused, grouped

MERGES = ("nms", "wbf")
Found = dict[str, torch.Tensor]


class TiledDetection(Inferer):
    """Give the detections of a list of images (1, H, W): ``boxes``, ``labels``, ``scores`` and ``masks``.

    Masks are bool (N, H, W), detections sorted by score.

    Args:
        tile: rows and columns of a tile; None takes each image whole.
        overlap: share of a tile that it has in common with the next.
        batch_size: tiles that go through the network together.
        merge: "nms" keeps the best of the detections of one lesion, "wbf" their weighted mean box and all their masks.
        merge_threshold: of the overlap from which detections are of one lesion (`common.networks.merging.overlaps`).
        detections: how many an image has at most.

    Raises:
        ValueError: an unknown way to merge.
    """

    def __init__(
        self,
        tile: Sequence[int] | None = None,
        overlap: float = 0.5,
        batch_size: int = 4,
        merge: str = "nms",
        merge_threshold: float = 0.3,
        detections: int = 20,
    ) -> None:
        super().__init__()
        if merge not in MERGES or not 0 <= overlap < 1:
            raise ValueError(f"Detections are merged by one of {MERGES}, not '{merge}', tiles overlap by 0 to below 1.")
        self.tile = None if tile is None else (int(tile[0]), int(tile[1]))
        self.overlap, self.batch_size = overlap, batch_size
        self.merge, self.merge_threshold, self.detections = merge, merge_threshold, detections

    def __call__(  # type: ignore[override]
        self, inputs: Sequence[torch.Tensor], network: Any, *args: Any, **kwargs: Any
    ) -> list[Found]:
        if self.tile is None:
            return [_decided(found) for found in network(list(inputs))]
        return [self._one(image, network) for image in inputs]

    def _one(self, image: torch.Tensor, network: Any) -> Found:
        """Return what is found in one image, and never hold more masks of its size than detections are kept."""
        assert self.tile is not None
        shape = int(image.shape[-2]), int(image.shape[-1])
        corners = list(_corners(shape, self.tile, self.overlap))
        parts: list[tuple[int, int, Found]] = []
        for start in range(0, len(corners), self.batch_size):
            some = corners[start : start + self.batch_size]
            tiles = [_cut(image, corner, self.tile) for corner in some]
            parts += [(*corner, _decided(found)) for corner, found in zip(some, network(tiles), strict=True)]
        return self._merged(parts, shape)

    def _merged(self, parts: Sequence[tuple[int, int, Found]], shape: tuple[int, int]) -> Found:
        boxes = torch.cat([found["boxes"] + _move(found["boxes"], top, left) for top, left, found in parts])
        scores, labels = (torch.cat([found[key] for _, _, found in parts]) for key in ("scores", "labels"))
        places = [(part, row) for part, (_, _, found) in enumerate(parts) for row in range(len(found["boxes"]))]
        groups = grouped(boxes, scores, labels, self.merge_threshold)[: self.detections]
        best = [int(group[0]) for group in groups]
        masks = torch.zeros(len(groups), *shape, dtype=torch.bool, device=boxes.device)
        for mask, group in zip(masks, groups, strict=True):
            for place in group.tolist() if self.merge == "wbf" else [int(group[0])]:
                part, row = places[place]
                _paste(mask, parts[part][2]["masks"][row], parts[part][:2])
        merged = fused(boxes, scores, groups) if self.merge == "wbf" else boxes[best]
        limit = merged.new_tensor([shape[1], shape[0]] * 2)  # a tile may reach beyond the image
        return {
            "boxes": merged.clamp(min=0).minimum(limit),
            "labels": labels[best],
            "scores": scores[best],
            "masks": masks,
        }


def _decided(found: Found) -> Found:
    """Return detections with masks bool (N, H, W)."""
    return {**found, "masks": found["masks"][:, 0] >= 0.5}


def _corners(shape: tuple[int, int], tile: tuple[int, int], overlap: float) -> Iterator[tuple[int, int]]:
    def starts(have: int, side: int) -> list[int]:
        step, last = max(1, round(side * (1 - overlap))), max(0, have - side)
        return sorted({*range(0, last, step), last})

    for top in starts(shape[0], tile[0]):
        for left in starts(shape[1], tile[1]):
            yield top, left


def _cut(image: torch.Tensor, corner: tuple[int, int], tile: tuple[int, int]) -> torch.Tensor:
    part = image[:, corner[0] : corner[0] + tile[0], corner[1] : corner[1] + tile[1]]
    return F.pad(part, (0, tile[1] - part.shape[2], 0, tile[0] - part.shape[1]))


def _move(boxes: torch.Tensor, top: int, left: int) -> torch.Tensor:
    return boxes.new_tensor([left, top, left, top])


def _paste(target: torch.Tensor, mask: torch.Tensor, corner: tuple[int, int]) -> None:
    top, left = corner
    rows, columns = min(mask.shape[0], target.shape[0] - top), min(mask.shape[1], target.shape[1] - left)
    target[top : top + rows, left : left + columns] |= mask[:rows, :columns]

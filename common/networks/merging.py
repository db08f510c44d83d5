"""Detections of one lesion in several tiles become one: the best of them, or a weighted mean.

Boxes are (N, 4) as (x1, y1, x2, y2) in pixels.
"""

from __future__ import annotations

import torch
from torchvision.ops import box_area, box_iou

Groups = list[torch.Tensor]  # places of the detections of one lesion, the best one first


def overlaps(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return how much boxes (N, 4) and (M, 4) overlap: intersection over union, or .8 of that over the smaller (N, M).

    A tile's edge cuts a lesion, and the part's box lies in that of the whole: their union says little.
    """
    low, high = torch.maximum(first[:, None, :2], second[:, :2]), torch.minimum(first[:, None, 2:], second[:, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    smaller = torch.minimum(box_area(first)[:, None], box_area(second)[None])
    return torch.maximum(box_iou(first, second), 0.8 * shared / smaller.clamp(min=1e-6))


def grouped(boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, threshold: float) -> Groups:
    """Return detections of one class that overlap the best of them by at least a threshold, as groups of their places.

    The groups come in the order of their best scores.
    """
    close = overlaps(boxes, boxes) >= threshold
    left = torch.ones(len(scores), dtype=torch.bool, device=boxes.device)
    groups: Groups = []
    for place in scores.argsort(descending=True, stable=True).tolist():
        if left[place]:
            members = (close[place] & left & (labels == labels[place])).nonzero()[:, 0]
            others = members[members != place]
            order = scores[others].argsort(descending=True, stable=True)
            groups.append(torch.cat([members.new_tensor([place]), others[order]]))
            left[groups[-1]] = False
    return groups


def fused(boxes: torch.Tensor, scores: torch.Tensor, groups: Groups) -> torch.Tensor:
    """Return the mean box of each group (G, 4), weighted by the scores.

    Source: Solovyev, Wang and Gabruseva, Weighted boxes fusion, arXiv:1910.13302 (2019); the score stays the best
    one's, since a lesion's tiles do not all see it.
    """
    if not groups:
        return boxes[:0]
    means = [(boxes[g] * scores[g, None]).sum(0) / scores[g].sum().clamp(min=1e-9) for g in groups]
    return torch.stack(means)

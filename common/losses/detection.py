"""The loss of a detector that computes its own parts."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn


class SumOfLosses(nn.Module):
    """Add up the losses that a detector returns in training (`common.networks.mask_rcnn.LesionMaskRCNN`).

    Args:
        weights: of some of them by name, such as ``loss_mask``; 1 for the others.

    Raises:
        ValueError: on the first call, a weight names no loss.
    """

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.weights = dict(weights or {})

    def forward(self, losses: Mapping[str, torch.Tensor], targets: object = None) -> torch.Tensor:
        strange = sorted(set(self.weights) - set(losses))
        if strange:
            raise ValueError(f"The detector has no loss {strange}; it has {sorted(losses)}.")
        return torch.stack([self.weights.get(name, 1.0) * loss for name, loss in losses.items()]).sum()

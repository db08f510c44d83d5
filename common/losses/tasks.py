"""The loss of a network with a mask, a class, or both."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from common.networks.outputs import split_outputs


class TaskLoss(nn.Module):
    """Weighted sum of one loss per task.

    Args:
        losses: loss module by task, "mask" and "class", in the order of the network's output. The mask's takes
            logits and target (B, 1, H, W), the class's logits (B, C) and target (B,).
        weights: factor by task; 1 where it is not named.
    """

    def __init__(self, losses: Mapping[str, nn.Module], weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.losses = nn.ModuleDict(dict(losses))
        self.weights = dict(weights or {})

    def forward(self, pred: torch.Tensor, targets: Mapping[str, torch.Tensor]) -> torch.Tensor:
        logits = split_outputs(pred, list(self.losses))
        parts = [self.weights.get(name, 1.0) * loss(logits[name], targets[name]) for name, loss in self.losses.items()]
        return torch.stack(parts).sum()

"""The loss of a network with several heads, and deep exits that learn what the main one does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from common.data.heads import Head, binary_first, heads_of, slices_of


class HeadsLoss(nn.Module):
    """Weighted sum of the losses of all heads; where a target is missing (NaN), a head learns nothing from that item.

    Binary heads take binary cross-entropy, classes cross-entropy, numbers the smooth L1 of standardised values. The
    main head, and every deep exit with equal weight, takes ``main``, where it is binary.

    Args:
        heads: see `common.data.heads`.
        main: of logits and targets, both (n, 1); binary cross-entropy by default.
        exits: how many deep exits follow the heads in the network's output while it trains.
        label_smoothing: of the main head: targets are drawn towards .5 (towards all classes alike) by this share.

    Shapes:
        logits (B, columns + exits) and targets (B, heads) to a scalar.
    """

    def __init__(
        self,
        heads: Sequence[Mapping[str, Any]],
        main: nn.Module | None = None,
        exits: int = 0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads, self.exits, self.smoothing = heads_of(heads), exits, label_smoothing
        if exits:
            binary_first(self.heads)
        self.main = main if main is not None else nn.BCEWithLogitsLoss()

    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        parts = slices_of(self.heads)
        columns = parts[-1].stop
        if pred.shape[1] not in (columns, columns + self.exits):
            raise ValueError(f"The network gives {pred.shape[1]} logits; {columns} + {self.exits} are expected.")
        logits = pred.float()
        losses = [
            head.weight * self._one(head, logits[:, part], target[:, n], first=n == 0)
            for n, (head, part) in enumerate(zip(self.heads, parts, strict=True))
        ]
        losses += [
            self.heads[0].weight * self._one(self.heads[0], logits[:, n : n + 1], target[:, 0], first=True)
            for n in range(columns, logits.shape[1])
        ]
        return torch.stack(losses).sum()

    def _one(self, head: Head, logits: torch.Tensor, target: torch.Tensor, first: bool) -> torch.Tensor:
        known = ~torch.isnan(target)
        if not known.any():
            return 0.0 * logits.sum()
        logits, wanted = logits[known], target[known]
        if head.kind == "classes":
            return F.cross_entropy(logits, wanted.long(), label_smoothing=self.smoothing if first else 0.0)
        if head.kind == "number":
            return F.smooth_l1_loss(logits[:, 0], wanted)
        if not first:
            return F.binary_cross_entropy_with_logits(logits[:, 0], wanted)
        smooth = wanted * (1 - self.smoothing) + self.smoothing / 2
        return self.main(logits, smooth[:, None])

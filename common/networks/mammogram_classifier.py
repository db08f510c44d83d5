"""Classifier of one or several mammograms of a breast, with any timm backbone and any list of heads.

Origin: auxiliary heads as in papers of the University of Michigan and of Georgia Tech on RSNA's screening set;
self-distillation after Zhang et al., Be Your Own Teacher, arXiv:1905.08094 (2019); attention over views after Ilse et
al., Attention-based Deep Multiple Instance Learning, arXiv:1802.04712 (2018); GeM pooling after Radenović et al.,
arXiv:1711.02512 (2018). Written for this collection; Apache-2.0.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torchvision.models.resnet import Bottleneck

from common.data.flags import flag
from common.data.heads import heads_of
from common.networks.backbone import FeatureMaps, NativePool, as_maps, timm_network
from common.networks.weights import load_backbone

POOLINGS = ("native", "average", "max", "average_max", "gem")
FUSIONS = ("mean", "attention")


class Pool(nn.Module):
    """Pool feature maps (B, C, h, w) to (B, C), or (B, 2 C) for "average_max".

    Args:
        kind: "average", "max", "average_max" or "gem" (the generalised mean, its exponent learned).
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.exponent = nn.Parameter(torch.tensor(3.0)) if kind == "gem" else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.exponent is not None:
            powered = x.clamp_min(1e-6).pow(self.exponent)  # (B, C, h, w)
            return powered.mean((2, 3)).pow(1 / self.exponent)  # (B, C)
        parts = [x.mean((2, 3))] if "average" in self.kind else []
        parts += [x.amax((2, 3))] if "max" in self.kind else []
        return torch.cat(parts, 1)  # (B, C or 2 C)


class FuseViews(nn.Module):
    """Join the features of views (B, V, F) to (B, F), leaving out missing ones.

    Args:
        features: F.
        views: V.
        kind: "mean", or "attention" (gated, with an embedding of each view).
    """

    def __init__(self, features: int, views: int, kind: str = "mean") -> None:
        super().__init__()
        self.kind, hidden = kind, 64
        if kind == "attention":
            self.view = nn.Parameter(torch.zeros(views, hidden))
            self.value, self.gate = nn.Linear(features, hidden), nn.Linear(features, hidden)
            self.score = nn.Linear(hidden, 1)

    def forward(self, x: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        if self.kind == "mean":
            weights = present / present.sum(1, keepdim=True)  # (B, V)
        else:
            hidden = torch.tanh(self.value(x) + self.view) * torch.sigmoid(self.gate(x))  # (B, V, 64)
            scores = self.score(hidden)[..., 0].masked_fill(present < 0.5, float("-inf"))  # (B, V)
            weights = scores.softmax(1)
        return (x * weights[..., None]).sum(1)  # (B, F)


class DeepExit(nn.Module):
    """A second opinion from an earlier stage's maps: ResNet bottleneck, average pooling, dropout, one logit."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        width = max(1, channels // 4)
        project = nn.Sequential(nn.Conv2d(channels, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width))
        self.block = Bottleneck(channels, width, downsample=project if 4 * width != channels else None)
        self.drop, self.linear = nn.Dropout(dropout), nn.Linear(4 * width, 1)

    def forward(self, x: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        """Return logits (B, 1) of maps (B V, C, h, w), of which each view has a share (B, V, 1)."""
        pooled = self.block(x).mean((2, 3)).reshape(*share.shape[:2], -1)  # (B, V, 4 width)
        return self.linear(self.drop((pooled * share).sum(1)))  # (B, 1)


class MammogramClassifier(nn.Module):
    """Any timm backbone, shared by the views of a breast, and any list of heads.

    A view whose pixels are all 0 counts as missing: normalised images never are.

    Args:
        backbone: timm's name of it.
        heads: see `common.data.heads`.
        views: V, how many images an item has.
        in_channels: of the backbone; a grey image is repeated for 3.
        pretrained: ImageNet weights, whose first layer is adapted to the number of channels.
        weights: a file to start from instead, of the backbone or of another classifier of this collection with it.
        pooling: of feature maps: "native" (timm's own for that backbone), "average", "max", "average_max" or "gem".
        dropout: before the heads and in the exits.
        fusion: of views: "mean" or "attention".
        exits: how many deep exits (self-distillation), on the maps before the last.
        freeze_backbone: its weights and statistics stay as they are.
        checkpointing: trade time for memory in the backward pass.
        options: of the backbone, such as {"img_size": [384, 384]} for transformers.

    Shapes:
        normalised images (B, V, 1, H, W) to logits (B, columns): those of each head in turn. While training, the logits
        of the deep exits (B, exits) follow.

    Raises:
        ValueError: an unknown pooling or fusion, or another number of views than V.
    """

    def __init__(
        self,
        backbone: str,
        heads: Sequence[Mapping[str, Any]],
        views: int = 1,
        in_channels: int = 1,
        pretrained: bool = True,
        weights: str | os.PathLike | None = None,
        pooling: str = "native",
        dropout: float = 0.0,
        fusion: str = "mean",
        exits: int = 0,
        freeze_backbone: bool = False,
        checkpointing: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS or fusion not in FUSIONS or (exits and pooling == "native"):
            raise ValueError(
                f"pooling is one of {POOLINGS} and fusion one of {FUSIONS}, not '{pooling}' and '{fusion}'; "
                "with deep exits pooling is not native."
            )
        self.views, self.in_channels, self.frozen = views, in_channels, flag(freeze_backbone)
        fetched = flag(pretrained) and weights is None
        made = timm_network(backbone, in_channels, 0, fetched, **_maps_of(exits), **(options or {}))
        self.maps = FeatureMaps(load_backbone(made, weights), exits)
        self.pool = self.maps.native_pool() if pooling == "native" else Pool(pooling)
        channels = self.maps.channels()
        features = channels[-1] * (2 if pooling == "average_max" else 1)
        if pooling == "native":
            features = self.maps.backbone.head_hidden_size  # type: ignore[assignment]
        self.fuse = FuseViews(features, views, fusion)
        columns = sum(head.columns for head in heads_of(heads))
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, columns))
        self.exits = nn.ModuleList(DeepExit(number, dropout) for number in channels[:-1])
        if flag(checkpointing):
            self.maps.backbone.set_grad_checkpointing(True)  # type: ignore[operator]
        if self.frozen:
            self.maps.requires_grad_(False)

    def train(self, mode: bool = True) -> MammogramClassifier:
        """Switch to training; a frozen backbone keeps its statistics."""
        super().train(mode)
        if self.frozen:
            self.maps.eval()
        return self

    def _pooled(self, x: torch.Tensor) -> torch.Tensor:
        native = isinstance(self.pool, NativePool)
        return self.pool(x if native else as_maps(self.maps.backbone, x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, views = x.shape[:2]
        if views != self.views:
            raise ValueError(f"This network takes {self.views} views of a breast, not {views}.")
        present = (x.abs().amax((2, 3, 4)) > 0).to(x.dtype)  # (B, V)
        present = torch.where(present.sum(1, keepdim=True) > 0, present, torch.ones_like(present))
        maps = self.maps(
            x.reshape(batch * views, *x.shape[2:]).expand(-1, self.in_channels, -1, -1)
        )  # [(B V, C, h, w)]
        fused = self.fuse(self._pooled(maps[-1]).reshape(batch, views, -1), present)  # (B, F)
        logits = self.head(fused)  # (B, columns)
        if not self.training:
            return logits
        share = (present / present.sum(1, keepdim=True))[..., None]  # (B, V, 1)
        opinions = [leave(one, share) for leave, one in zip(self.exits, maps, strict=False)]
        return torch.cat([logits, *opinions], 1)  # (B, columns + exits)


def _maps_of(exits: int) -> dict[str, Any]:
    """Return the options by which timm gives the maps of the last stages; none for the last alone."""
    return {"features_only": True, "out_indices": tuple(range(-exits - 1, 0))} if exits else {}

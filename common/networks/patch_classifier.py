"""Classifier of patches of a mammogram: a timm backbone and a head on its feature maps.

Origin: the heads of two studies of transfer learning on CBIS-DDSM (University of Tübingen; MIT), which flatten or pool
the maps of ImageNet networks and train the head first. Written for this collection; Apache-2.0.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn

from common.data.flags import flag
from common.networks.backbone import FeatureMaps, as_maps, timm_network
from common.networks.freezing import hold_still
from common.networks.weights import load_backbone

HEADS = ("flatten", "average")


class PatchClassifier(nn.Module):
    """A timm backbone, and a head that flattens or averages its maps, with or without a hidden layer.

    Args:
        backbone: timm's name of it.
        num_classes: C.
        image_size: rows and columns of a patch, which a flattened head depends on.
        in_channels: of the backbone; a grey patch is repeated for 3.
        pretrained: ImageNet weights, whose first layer is adapted to the number of channels.
        weights: a file to start from instead, of the backbone or of another classifier of this collection with it.
        head: "flatten" or "average".
        hidden: units of a layer before the last, 0 for none.
        dropout: before the last layer.
        trainable: how much of the backbone trains: a share of its layers at the end, or, as a whole number, how many
            (`common.networks.freezing`).
        options: of the backbone.

    Shapes:
        normalised patches (B, 1, H, W) to logits (B, C).

    Raises:
        ValueError: an unknown head.
    """

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        image_size: Sequence[int] = (224, 224),
        in_channels: int = 3,
        pretrained: bool = True,
        weights: str | os.PathLike | None = None,
        head: str = "average",
        hidden: int = 0,
        dropout: float = 0.0,
        trainable: float | int = 1.0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise ValueError(f"The head is one of {HEADS}, not '{head}'.")
        self.in_channels, self.kind = in_channels, head
        made = timm_network(backbone, in_channels, 0, flag(pretrained) and weights is None, **(options or {}))
        if hasattr(made, "pre_logits"):  # VGG's own dense layers, 120 million weights that the new head replaces
            made.pre_logits = nn.Identity()
        self.maps = FeatureMaps(load_backbone(made, weights))
        channels, rows, columns = self._map_shape(image_size)
        self.image_size, self.map_size = (int(image_size[0]), int(image_size[1])), (rows, columns)
        self.channels = channels
        features = channels * rows * columns if head == "flatten" else channels
        last = hidden or features
        dense = [nn.Linear(features, hidden), nn.ReLU()] if hidden else []
        self.head = nn.Sequential(*dense, nn.Dropout(dropout), nn.Linear(last, num_classes))
        self.still: list[nn.Module] = []
        self.unfreeze(trainable)

    def _map_shape(self, image_size: Sequence[int]) -> tuple[int, int, int]:
        backbone = self.maps.backbone
        training = backbone.training
        with torch.no_grad():
            some = next(backbone.parameters())
            found = as_maps(backbone, self.maps.eval()(some.new_zeros(1, self.in_channels, *image_size))[-1])
        self.maps.train(training)
        return found.shape[1], found.shape[2], found.shape[3]

    @cached_property
    def step(self) -> int:
        """How many pixels one column of the maps stands for."""
        high, wide = self.image_size
        return round(wide / (self._map_shape((high, 2 * wide))[2] - self.map_size[1]))

    @cached_property
    def reach(self) -> int | None:
        """How many pixels beyond its own ``step`` a column of the maps sees on each side, a multiple of ``step``.

        NaN in one pixel spreads to exactly the columns that see it. None if these are all of a wide image, as with
        squeeze and excitation.
        """
        backbone, half = copy.deepcopy(self.maps).cpu().float().eval(), 64
        images = torch.zeros(2, self.in_channels, self.image_size[0], 2 * half * self.step)
        images[0, ..., half * self.step - 1] = torch.nan  # the last pixel before column `half`
        images[1, ..., half * self.step] = torch.nan  # and its first
        with torch.no_grad():
            maps = as_maps(backbone.backbone, backbone(images)[-1])
        sees = maps.isnan().any(2).any(1)  # (2, columns)
        if sees[:, 0].any() or sees[:, -1].any():
            return None
        before, after = int(sees[0].nonzero().max()) + 1 - half, half - int(sees[1].nonzero().min())
        return max(before, after) * self.step

    def unfreeze(self, trainable: float | int) -> None:
        """Let this much of the backbone's end train; the head always does."""
        self.still = hold_still(self.maps.backbone, trainable)
        self.train(self.training)

    def train(self, mode: bool = True) -> PatchClassifier:
        """Switch to training; layers that are held still keep their statistics."""
        super().train(mode)
        for layer in self.still:
            layer.eval()
        return self

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return the feature maps (B, F, h, w) of images (B, 1, H, W)."""
        return as_maps(self.maps.backbone, self.maps(x.expand(-1, self.in_channels, -1, -1))[-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.features(x)  # (B, F, h, w)
        return self.head(maps.flatten(1) if self.kind == "flatten" else maps.mean((2, 3)))  # (B, C)

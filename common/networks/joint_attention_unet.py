"""Attention U-Net that gives a lesion mask and the class of the image together.

Origin: the attention gates and the encoder-decoder of O. Oktay et al., Attention U-Net: Learning Where to Look
for the Pancreas, arXiv:1804.03999 (2018); residual blocks of He et al., arXiv:1512.03385 (2015); squeeze and
excitation of Hu et al., arXiv:1709.01507 (2017). The class head, which looks where the mask points, is ours.
Written for this collection; Apache-2.0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.networks.blocks import ChannelSELayer
from torch import nn
from torch.nn import functional as F

from common.networks.outputs import join_outputs


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with squeeze and excitation around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout2d(dropout)
        self.excite = ChannelSELayer(2, outputs, r=8)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
            project = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.shortcut = nn.Sequential(pool, project, nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)))  # (B, C, H / stride, W / stride)
        y = self.excite(self.norm2(self.conv2(self.dropout(y))))
        return F.relu(y + self.shortcut(x))


class AttentionGate(nn.Module):
    """Weigh the skip connection by what the coarser level knows (additive attention)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.from_gate = nn.Conv2d(channels, channels // 2, 1)
        self.from_skip = nn.Conv2d(channels, channels // 2, 1)
        self.weigh = nn.Conv2d(channels // 2, 1, 1)

    def forward(self, gate: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return skip * torch.sigmoid(self.weigh(F.relu(self.from_gate(gate) + self.from_skip(skip))))  # (B, C, H, W)


class UpBlock(nn.Module):
    """Bring the coarser level to the skip's size, gate the skip, and merge the two."""

    def __init__(self, inputs: int, skip: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(inputs, skip, 1, bias=False)
        self.gate = AttentionGate(skip)
        self.merge = ResidualBlock(2 * skip, skip, dropout=dropout)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        x = F.interpolate(self.reduce(x), size=skip.shape[2:], mode="bilinear", align_corners=False)  # (B, S, H, W)
        return self.merge(torch.cat([x, self.gate(x, skip)], 1))  # (B, S, H, W)


class JointAttentionUnet(nn.Module):
    """Attention U-Net with residual blocks and a class head.

    The decoder ends at half the input's size, where the mask's logits are made and enlarged: on a CPU the full
    size would double the cost for a border of a pixel. The class head sees the coarsest features (mean and
    maximum), the decoder's under the predicted mask, and how sure and how large that mask is.

    Args:
        in_channels: of the image.
        num_classes: of the class head.
        channels: of the levels at 1/2, 1/4, … of the input's size.
        blocks: residual blocks at each level of the encoder.
        dropout: share of channels dropped in the two coarsest levels.
        head_dropout: share of features dropped before the class head.

    Shapes:
        image (B, in_channels, H, W) to (B, 1 + num_classes, H, W): the mask's logits, then each class's logit as
        a constant plane (`common.networks.outputs`). Any H and W of at least 2 ** len(channels) pixels.
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 3,
        channels: Sequence[int] = (24, 48, 96, 192, 256),
        blocks: Sequence[int] = (1, 1, 2, 2, 1),
        dropout: float = 0.1,
        head_dropout: float = 0.3,
    ) -> None:
        super().__init__()
        inputs = [in_channels, *channels[:-1]]
        drops = [dropout if level >= len(channels) - 2 else 0.0 for level in range(len(channels))]
        self.encoder = nn.ModuleList(
            nn.Sequential(*[ResidualBlock(i if n == 0 else c, c, 2 if n == 0 else 1, d) for n in range(b)])
            for i, c, b, d in zip(inputs, channels, blocks, drops, strict=True)
        )
        self.decoder = nn.ModuleList(
            UpBlock(channels[level], channels[level - 1], drops[level]) for level in range(len(channels) - 1, 0, -1)
        )
        self.mask_head = nn.Conv2d(channels[0], 1, 1)
        self.class_head = nn.Sequential(
            nn.Dropout(head_dropout), nn.Linear(2 * channels[-1] + channels[1] + 2, num_classes)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[2:]
        skips: list[torch.Tensor] = []
        for level in self.encoder:
            x = level(x)
            skips.append(x)
        coarse, y = x, x
        decoded: list[torch.Tensor] = []
        for index, up in enumerate(self.decoder):
            y = up(y, skips[-2 - index])
            decoded.append(y)
        half = self.mask_head(y)  # (B, 1, H / 2, W / 2)
        features = torch.cat([coarse.mean((2, 3)), coarse.amax((2, 3)), *self._lesion_features(decoded[-2], half)], 1)
        mask = F.interpolate(half, size=size, mode="bilinear", align_corners=False)  # (B, 1, H, W)
        return join_outputs(mask, self.class_head(features))  # (B, 1 + C, H, W)

    @staticmethod
    def _lesion_features(features: torch.Tensor, logits: torch.Tensor) -> list[torch.Tensor]:
        """Average features (B, C, h, w) under the predicted mask, and say how sure and how large the mask is.

        No gradient flows back into the mask.
        """
        logits = logits.detach()
        weight = F.interpolate(torch.sigmoid(logits), size=features.shape[2:], mode="bilinear", align_corners=False)
        pooled = (features * weight).sum((2, 3)) / (weight.sum((2, 3)) + 1)  # (B, C)
        return [pooled, logits.amax((2, 3)) / 4, weight.mean((2, 3)) * 4]  # (B, C), (B, 1), (B, 1)

"""A timm network by name, with its ImageNet weights, a file's weights, or none."""

from __future__ import annotations

import os
from typing import Any

import timm
import torch
from torch import nn

from common.data.flags import flag
from common.networks.weights import load_weights


def timm_network(
    name: str,
    in_channels: int = 1,
    num_classes: int = 1,
    pretrained: bool = True,
    weights: str | os.PathLike | None = None,
    **options: Any,
) -> torch.nn.Module:
    """Return a timm network; the first layer of ImageNet weights is adapted to the number of channels.

    Args:
        name: as timm lists it, such as "resnet18".
        in_channels, num_classes: of input (B, in_channels, H, W) and output (B, num_classes).
        pretrained: start from ImageNet weights out of timm's hub or its local cache.
        weights: a file with a state dict to start from instead.
        options: passed to `timm.create_model`.

    Raises:
        ValueError: timm has no such network.
        OSError: the weights cannot be fetched; the message says what to do.
    """
    if not timm.is_model(name):
        raise ValueError(f"timm has no network '{name}'. Close to it: {timm.list_models(f'*{name[:6]}*')[:5]}")
    make = {"in_chans": in_channels, "num_classes": num_classes, **options}
    if weights is not None or not flag(pretrained):
        return load_weights(timm.create_model(name, pretrained=False, **make), weights)
    try:
        return timm.create_model(name, pretrained=True, **make)
    except Exception as error:
        raise OSError(
            f"The ImageNet weights of '{name}' cannot be fetched (no network?). Train without them by "
            "--pretrained false, or give a state dict by --weights FILE."
        ) from error


class FeatureMaps(nn.Module):
    """The maps of a timm network's last stages, each (B, C, h, w), whatever layout the network itself has.

    Args:
        backbone: made without a classifier; with ``features_only`` where earlier stages are wanted.
        earlier: how many stages before the last.
    """

    def __init__(self, backbone: torch.nn.Module, earlier: int = 0) -> None:
        super().__init__()
        self.backbone, self.earlier = backbone, earlier

    def channels(self) -> list[int]:
        """Return C of each stage."""
        if self.earlier:
            return list(self.backbone.feature_info.channels())  # type: ignore[operator, union-attr]
        return [self.backbone.num_features]  # type: ignore[list-item]

    def native_pool(self) -> nn.Module:
        """Return the pooling that timm gives this network, on what `forward` returns."""
        return NativePool(self.backbone)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        if self.earlier:
            return list(self.backbone(x))
        return [self.backbone.forward_features(x)]  # type: ignore[operator]


class NativePool(nn.Module):
    """A timm network's own pooling: of a class token, of all tokens, or of maps."""

    def __init__(self, backbone: torch.nn.Module) -> None:
        super().__init__()
        self.of = [backbone]  # in a list, so that its weights are not counted twice

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.of[0].forward_head(x, pre_logits=True)  # type: ignore[operator]


def as_maps(backbone: Any, x: torch.Tensor) -> torch.Tensor:
    """Return features of any layout as maps (B, C, h, w): tokens without class tokens, and maps with channels last."""
    if x.ndim == 3:
        rows, columns = backbone.patch_embed.grid_size
        tokens = x[:, backbone.num_prefix_tokens :]  # (B, h w, C)
        return tokens.transpose(1, 2).reshape(len(x), -1, rows, columns)
    last = getattr(backbone, "output_fmt", "NCHW") == "NHWC"
    return x.permute(0, 3, 1, 2) if last else x

"""A timm network by name, with its ImageNet weights, a file's weights, or none."""

from __future__ import annotations

import os
from typing import Any

import timm
import torch

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

"""Where a classifier looked: Grad-CAM for convolutional networks and transformers.

Source: Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization,
arXiv:1610.02391 (2017). For a transformer whose answer comes from the class token, the maps are the tokens that its
last block reads, since those that it writes have no say.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from common.networks.backbone import as_maps
from common.networks.mammogram_classifier import MammogramClassifier


def grad_cam(network: MammogramClassifier, images: torch.Tensor, column: int = 0) -> torch.Tensor:
    """Return for each view how much each place speaks for a logit, (B, V, H, W) from 0 to 1 for the item's strongest.

    Args:
        network: in evaluation mode.
        images: (B, V, 1, H, W), normalised.
        column: of the logit.
    """
    kept: list[torch.Tensor] = []
    handle = _layer(network).register_forward_hook(lambda *hook: kept.append(_last(hook[2])))
    try:
        with torch.enable_grad():
            inputs = images.detach().clone().requires_grad_(True)
            (gradient,) = torch.autograd.grad(network(inputs)[:, column].sum(), kept[0])
    finally:
        handle.remove()
    backbone = network.maps.backbone
    maps, slopes = as_maps(backbone, kept[0].detach().float()), as_maps(backbone, gradient.float())
    cam = F.relu((slopes.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True))  # (B V, 1, h, w)
    large = F.interpolate(cam, images.shape[3:], mode="bilinear", align_corners=False)
    shaped = large.reshape(*images.shape[:2], *images.shape[3:])  # (B, V, H, W)
    return shaped / shaped.amax((1, 2, 3), keepdim=True).clamp_min(1e-12)


def _last(output: Any) -> torch.Tensor:
    return output[-1] if isinstance(output, list) else output


def _layer(network: MammogramClassifier) -> nn.Module:
    blocks = getattr(network.maps.backbone, "blocks", None)
    transformer = blocks is not None and hasattr(blocks[-1], "attn")
    return blocks[-1].norm1 if transformer else network.maps  # type: ignore[index]

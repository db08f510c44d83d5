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


def grad_cam(network: Any, images: torch.Tensor, columns: torch.Tensor | None = None) -> torch.Tensor:
    """Return how much each place speaks for a logit, from 0 to 1 for the strongest place of an item.

    Args:
        network: in evaluation mode; its ``maps`` are `common.networks.backbone.FeatureMaps`.
        images: (B, V, 1, H, W), or (B, 1, H, W), normalised.
        columns: (B,) of the logit asked about in each item; the first one by default.

    Returns:
        (B, V, H, W), or (B, H, W).
    """
    asked = torch.zeros(len(images), dtype=torch.long, device=images.device) if columns is None else columns
    kept: list[torch.Tensor] = []
    handle = _layer(network).register_forward_hook(lambda *hook: kept.append(_last(hook[2])))
    try:
        with torch.enable_grad():
            inputs = images.detach().clone().requires_grad_(True)
            (gradient,) = torch.autograd.grad(network(inputs).gather(1, asked[:, None]).sum(), kept[0])
    finally:
        handle.remove()
    backbone = network.maps.backbone
    maps, slopes = as_maps(backbone, kept[0].detach().float()), as_maps(backbone, gradient.float())
    cam = F.relu((slopes.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True))  # (B V, 1, h, w)
    large = F.interpolate(cam, images.shape[-2:], mode="bilinear", align_corners=False)
    shaped = large.reshape(*images.shape[:-3], *images.shape[-2:])  # (B, V, H, W) or (B, H, W)
    return shaped / shaped.flatten(1).amax(1).clamp_min(1e-12).reshape(-1, *[1] * (shaped.ndim - 1))


def _last(output: Any) -> torch.Tensor:
    return output[-1] if isinstance(output, list) else output


def _layer(network: Any) -> nn.Module:
    blocks = getattr(network.maps.backbone, "blocks", None)
    transformer = blocks is not None and hasattr(blocks[-1], "attn")
    return blocks[-1].norm1 if transformer else network.maps  # type: ignore[index]

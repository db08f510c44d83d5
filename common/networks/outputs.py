"""What a network's one output tensor holds: a mask, a class, or both."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def split_outputs(pred: torch.Tensor, outputs: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return the logits of each task in a network's output.

    Args:
        pred: (B, 1, H, W) for ``["mask"]``; (B, C) for ``["class"]``; (B, 1 + C, H, W) for
            ``["mask", "class"]``, where the C class logits stand as constant planes behind the mask's,
            so that MONAI's checks and the exports see a single tensor.
        outputs: which tasks, in that order.

    Returns:
        "mask": (B, 1, H, W), "class": (B, C), as far as they are asked for.
    """
    if list(outputs) == ["mask", "class"]:
        return {"mask": pred[:, :1], "class": pred[:, 1:].mean((2, 3))}
    if list(outputs) in (["mask"], ["class"]):
        return {outputs[0]: pred}
    raise ValueError(f"outputs is ['mask'], ['class'] or ['mask', 'class'], not {list(outputs)}.")


def join_outputs(mask: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Put class logits (B, C) as constant planes behind mask logits (B, 1, H, W)."""
    planes = classes[:, :, None, None].expand(-1, -1, *mask.shape[2:])
    return torch.cat([mask, planes], 1)  # (B, 1 + C, H, W)

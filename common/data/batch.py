"""From a batch to the network's input and its targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch


class PrepareBatch:
    """Return (image, targets) of a batch as plain tensors on the device.

    Plain, because a `MetaTensor` pays for its metadata at every operation of the network.

    Args:
        outputs: tasks of the network; "mask" takes the batch's ``mask`` (B, 1, H, W), "class" its ``label`` (B,).
        channels_last: lay images out with the channels last, which convolutions on a CPU and with
            mixed precision prefer.
        targets: leave them out for inference.
    """

    KEYS = {"mask": "mask", "class": "label"}  # noqa: RUF012

    def __init__(self, outputs: Sequence[str], channels_last: bool = False, targets: bool = True) -> None:
        self.names = list(outputs) if targets else []
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def __call__(
        self, batch: Mapping[str, Any], device: Any = None, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor] | None]:
        def move(value: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(value.as_tensor() if hasattr(value, "as_tensor") else value).to(
                device=device, non_blocking=non_blocking, **kwargs
            )

        image = move(batch["image"]).contiguous(memory_format=self.memory_format)
        return image, {name: move(batch[self.KEYS[name]]) for name in self.names} or None

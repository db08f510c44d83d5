"""From a batch to the network's input and its targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.data import MetaTensor

from common.data.breast import breast_mask
from common.data.flags import memory_format


def collate_views(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a batch: ``image`` (B, V, 1, H, W) and ``target`` (B, heads) as tensors, everything else as lists.

    A key that some items lack is None in those.
    """
    keys = list(dict.fromkeys(key for item in items for key in item))
    batch: dict[str, Any] = {key: [item.get(key) for item in items] for key in keys}
    return {key: torch.stack(values) if key in ("image", "target") else values for key, values in batch.items()}


class PrepareViews:
    """Return (images, targets) of a batch from `collate_views` on the device; targets are None for inference."""

    def __call__(
        self, batch: Mapping[str, Any], device: Any = None, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        move = {"device": device, "non_blocking": non_blocking, **kwargs}
        return batch["image"].to(**move), batch["target"].to(**move) if "target" in batch else None


class PrepareWhole:
    """Return (image, None, (), {"inside": where the breast is}) of a batch that holds one mammogram with its trace.

    The breast is found on the image before it was normalised, (1, 1, H, W) bool.
    """

    def __call__(
        self, batch: Mapping[str, Any], device: Any = None, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[torch.Tensor, None, tuple, dict[str, torch.Tensor]]:
        (trace,) = batch["traces"][0]
        inside = torch.zeros(batch["image"].shape, dtype=torch.bool)
        if trace is not None:
            inside[0, 0] = torch.from_numpy(breast_mask(trace[0].numpy()))
        return batch["image"].to(device=device, non_blocking=non_blocking, **kwargs), None, (), {"inside": inside}


class PrepareBatch:
    """Return (image, targets) of a batch on the device; the image keeps its metadata, so that it can be undone.

    Args:
        outputs: tasks of the network; "mask" takes the batch's ``mask`` (B, 1, H, W), "class" its ``label`` (B,).
        channels_last: lay images out with the channels last, which convolutions on a CPU and with
            mixed precision prefer.
        targets: leave them out for inference.
    """

    KEYS = {"mask": "mask", "class": "label"}  # noqa: RUF012

    def __init__(self, outputs: Sequence[str], channels_last: bool = False, targets: bool = True) -> None:
        self.names = list(outputs) if targets else []
        self.memory_format = memory_format(channels_last)

    def __call__(
        self, batch: Mapping[str, Any], device: Any = None, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor] | None]:
        move = {"device": device, "non_blocking": non_blocking, **kwargs}
        image = batch["image"].to(**move).contiguous(memory_format=self.memory_format)
        targets = {name: batch[self.KEYS[name]] for name in self.names}
        return image, {name: plain(value).to(**move) for name, value in targets.items()} or None


class PrepareDetection:
    """Return (images, targets) of a list of items, as a detector takes them: images may differ in size.

    Args:
        training: give the targets to the network too, which then returns its losses.
    """

    def __init__(self, training: bool = False) -> None:
        self.training = training

    def __call__(
        self, batch: Sequence[Mapping[str, Any]], device: Any = None, non_blocking: bool = False, **kwargs: Any
    ) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]] | None, tuple, dict[str, Any]]:
        move = {"device": device, "non_blocking": non_blocking, **kwargs}
        images = [plain(item["image"]).to(**move) for item in batch]
        if "target" not in batch[0]:
            return images, None, (), {}
        targets = [{key: value.to(**move) for key, value in item["target"].items()} for item in batch]
        return images, targets, (targets,) if self.training else (), {}


def plain(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor without metadata."""
    return value.as_tensor() if isinstance(value, MetaTensor) else value

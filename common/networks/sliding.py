"""Slide a classifier of patches over a whole mammogram: the probabilities of a window at every step.

Where the head averages the maps, they are computed once, tile by tile, and the head slides over them. A window then
sees the tissue around it, where a patch cut out alone would see the zeros that convolutions pad with. A tile is
computed with all the pixels around it that reach into it, so that its maps are those of the whole mammogram.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from monai.inferers import Inferer
from torch.nn import functional as F

from common.data.batch import plain
from common.networks.patch_classifier import PatchClassifier

WAYS = ("auto", "shared", "each")


class SlidingPatches(Inferer):
    """Give the logits of a window at every step over a mammogram, (1, C, rows, columns).

    Window (r, c) covers the pixels from (r, c) * stride to that + window of the input.

    Args:
        window: pixels (rows, columns) of a patch.
        stride: pixels between windows.
        batch_size: windows that go through the network together, where each goes through alone.
        way: "shared" computes the maps once, and wants a head that averages, a stride that is a multiple of the
            backbone's, and a backbone without layers that see the whole image (squeeze and excitation, attention);
            "each" cuts every window out; "auto" shares where it can.
        tile: pixels of the squares that the maps are computed on, which bounds the memory.

    On a CPU the network's weights are laid out channels last, which changes its speed and not its results.

    Raises:
        ValueError: an unknown way.
    """

    def __init__(
        self,
        window: tuple[int, int] = (224, 224),
        stride: int = 32,
        batch_size: int = 32,
        way: str = "auto",
        tile: int = 1024,
    ) -> None:
        super().__init__()
        if way not in WAYS:
            raise ValueError(f"Unknown way '{way}' to slide a window: choose one of {WAYS}.")
        self.window, self.stride, self.batch_size = (int(window[0]), int(window[1])), int(stride), batch_size
        self.way, self.tile = way, tile

    def grid(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Return how many rows and columns of windows fit into an image of that shape."""
        rows, columns = ((side - size) // self.stride + 1 for side, size in zip(shape, self.window, strict=True))
        return rows, columns

    def __call__(
        self, inputs: torch.Tensor, network: Any, *args: Any, inside: torch.Tensor | None = None, **kwargs: Any
    ) -> torch.Tensor:
        """Slide over one image (1, 1, H, W); where windows lie outside of ``inside`` (1, 1, H, W) the logits are NaN.

        Raises:
            ValueError: the batch holds several images, one is smaller than a window, or its maps cannot be shared.
        """
        image = plain(inputs)
        if len(image) != 1 or min(self.grid(_shape(image))) < 1:
            raise ValueError(f"One image of at least {self.window} pixels is expected, not {tuple(image.shape)}.")
        wanted = self._wanted(image, inside)
        if image.device.type == "cpu":
            network.to(memory_format=torch.channels_last)
        with torch.inference_mode():
            found = (self._shared if self._shares(network) else self._each)(image, network, wanted)
        return torch.where(wanted, found, torch.nan)

    def _wanted(self, image: torch.Tensor, inside: torch.Tensor | None) -> torch.Tensor:
        """Return which windows have their centre inside, bool (rows, columns)."""
        rows, columns = self.grid(_shape(image))
        if inside is None:
            return torch.ones(rows, columns, dtype=torch.bool, device=image.device)
        top, left = (size // 2 for size in self.window)
        centres = inside[0, 0, top :: self.stride, left :: self.stride][:rows, :columns]
        return (centres > 0.5).to(image.device)

    def _each(self, image: torch.Tensor, network: Any, wanted: torch.Tensor) -> torch.Tensor:
        windows = image[0, 0].unfold(0, self.window[0], self.stride).unfold(1, self.window[1], self.stride)
        chosen = wanted.nonzero()
        parts = [network(windows[at[:, 0], at[:, 1]][:, None]).float() for at in chosen.split(self.batch_size)]
        columns = parts[0].shape[1] if parts else 1
        found = torch.full((1, columns, *wanted.shape), torch.nan, device=image.device)
        if parts:
            found[0, :, chosen[:, 0], chosen[:, 1]] = torch.cat(parts).T
        return found

    def _shares(self, network: Any) -> bool:
        possible = isinstance(network, PatchClassifier) and network.kind == "average"
        possible = possible and self.stride % network.step == 0 and network.reach is not None
        if self.way == "shared" and not possible:
            raise ValueError(
                "Maps can be shared by windows where the head averages them (--head average), --stride is a multiple "
                f"of the backbone's, {getattr(network, 'step', 32)}, and no layer of it sees the whole image (as "
                "squeeze and excitation do). Choose --way each otherwise."
            )
        return possible and self.way != "each"

    def _shared(self, image: torch.Tensor, network: PatchClassifier, wanted: torch.Tensor) -> torch.Tensor:
        steps, (high, wide) = self.stride // network.step, network.map_size
        needed = _covered(wanted, (high, wide), steps)
        pooled = F.avg_pool2d(self._maps(image, network, needed), (high, wide), steps)  # (1, F, rows, columns)
        return network.head(pooled.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).float()  # (1, C, rows, columns)

    def _maps(self, image: torch.Tensor, network: PatchClassifier, needed: torch.Tensor) -> torch.Tensor:
        """Return the maps (1, F, h, w) of the image, computed wherever ``needed`` (h, w) says so."""
        assert network.reach is not None
        step, size, margin = network.step, max(1, self.tile // network.step), network.reach // network.step
        whole = image.new_zeros(1, network.channels, *needed.shape)
        for top, bottom in _spans(needed.shape[0], size):
            for left, right in _spans(needed.shape[1], size):
                if not needed[top:bottom, left:right].any():
                    continue
                first = max(0, top - margin), max(0, left - margin)
                last = (bottom + margin) * step, (right + margin) * step
                part = network.features(image[..., first[0] * step : last[0], first[1] * step : last[1]])
                part = part[..., top - first[0] : bottom - first[0], left - first[1] : right - first[1]]
                whole[..., top:bottom, left:right] = part
        return whole


def _shape(image: torch.Tensor) -> tuple[int, int]:
    return int(image.shape[-2]), int(image.shape[-1])


def _covered(wanted: torch.Tensor, size: tuple[int, int], steps: int) -> torch.Tensor:
    """Return which columns of the maps the wanted windows cover, bool (h, w)."""
    windows = wanted[None, None].float()
    return F.conv_transpose2d(windows, windows.new_ones(1, 1, *size), stride=steps)[0, 0] > 0


def _spans(length: int, size: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, size):
        yield start, min(start + size, length)

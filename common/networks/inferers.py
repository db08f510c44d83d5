"""Run a network on a batch of images."""

from __future__ import annotations

from typing import Any

import torch
from monai.inferers import SimpleInferer

from common.data.batch import plain
from common.data.flags import flag


class PlainInferer(SimpleInferer):
    """Run the network on plain tensors, and on the mirrored images too where asked.

    Plain, because a `MetaTensor` pays for its metadata at every operation of the network.

    Args:
        flips: average the outputs of the image and of its mirror image (left to right), the latter mirrored back.
    """

    def __init__(self, flips: bool = False) -> None:
        super().__init__()
        self.flips = flag(flips)

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        image = plain(inputs)
        pred = network(image, *args, **kwargs)
        if not self.flips:
            return pred
        mirrored = network(image.flip(-1), *args, **kwargs)
        return (pred + (mirrored.flip(-1) if mirrored.ndim == 4 else mirrored)) / 2

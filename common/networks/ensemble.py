"""Several sets of weights of one network, answering as one."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence

import torch
from torch import nn

from common.networks.weights import load_weights


class Ensemble(nn.Module):
    """Average the outputs (logits) of several networks, such as those of the folds of a cross-validation.

    Args:
        members: networks of one shape of output.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if not members:
            raise ValueError("An ensemble needs at least one member: give the weights of its folds.")
        self.members = nn.ModuleList(members)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([member(x) for member in self.members]).mean(0)


def one_or_several(
    network: nn.Module, path: str | os.PathLike | None, members: Sequence[str | os.PathLike] | None = None
) -> nn.Module:
    """Return a network with the weights of a file, or the ensemble of those of several."""
    return load_weights(network, path) if members is None else ensemble_of(network, members)


def ensemble_of(network: nn.Module, weights: Sequence[str | os.PathLike]) -> Ensemble:
    """Return the ensemble of copies of one network, each with the weights of a file."""
    return Ensemble([load_weights(copy.deepcopy(network), path) for path in weights])

"""Hold a part of a backbone still: its weights, and the statistics of its batch normalisation."""

from __future__ import annotations

import math

from torch import nn


def layers_of(backbone: nn.Module) -> list[nn.Module]:
    """Return the modules without children that have weights or statistics, in the order of the network."""
    leaves = [module for module in backbone.modules() if not list(module.children())]
    return [leaf for leaf in leaves if any(True for _ in leaf.parameters()) or any(True for _ in leaf.buffers())]


def first_trainable(layers: list[nn.Module], trainable: float | int) -> int:
    """Return the place of the first layer that trains.

    Args:
        layers: from `layers_of`.
        trainable: how much of the convolution (and linear) layers at the end: a share from 0.0 to 1.0, or, as a whole
            number, how many.

    Raises:
        ValueError: a share beyond 0 to 1, or more layers than there are.
    """
    deep = [place for place, layer in enumerate(layers) if isinstance(layer, nn.Conv2d | nn.Linear)]
    number = trainable if isinstance(trainable, int) else math.ceil(trainable * len(deep) - 1e-9)
    if not 0 <= number <= len(deep):
        raise ValueError(
            f"Of {len(deep)} layers {trainable} cannot be trained: give a share from 0.0 to 1.0, or a number."
        )
    if number == len(deep):
        return 0
    return deep[-number] if number else len(layers)


def hold_still(backbone: nn.Module, trainable: float | int) -> list[nn.Module]:
    """Let the last part of a backbone train, and return the layers before it, which are to stay in evaluation mode."""
    layers = layers_of(backbone)
    first = first_trainable(layers, trainable)
    backbone.requires_grad_(False)
    for layer in layers[first:]:
        layer.requires_grad_(True)
    return layers[:first]

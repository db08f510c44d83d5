"""Draw rare items more often than they occur."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from monai.data import DistributedSampler, DistributedWeightedRandomSampler
from torch import distributed
from torch.utils.data import WeightedRandomSampler

KINDS = ("weighted", "balanced")


def item_weights(items: Sequence[Mapping[str, Any]], label: str, kind: str) -> list[float]:
    """Return how often each item is drawn, in multiples of 1.

    Args:
        items: of the training part.
        label: the key that is rare and common.
        kind: "balanced" draws every value equally often; "weighted" goes half of that way (the square root), so that
            rare items are not repeated as often.

    Raises:
        ValueError: an unknown kind.
    """
    if kind not in KINDS:
        raise ValueError(f"Unknown sampling '{kind}': choose one of {KINDS}, or none.")
    counts = Counter(item.get(label) for item in items)
    power = 1.0 if kind == "balanced" else 0.5
    weights = [(len(items) / (len(counts) * counts[item.get(label)])) ** power for item in items]
    mean = sum(weights) / len(weights)
    return [weight / mean for weight in weights]


def sampler_of(items: Sequence[Mapping[str, Any]], label: str, kind: str | None) -> Any:
    """Return a sampler with replacement, or None for a plain shuffle; several processes each get a share."""
    together = distributed.is_available() and distributed.is_initialized()
    if kind is None:
        return DistributedSampler(items, even_divisible=True, shuffle=True) if together else None  # type: ignore[arg-type]
    weights = item_weights(items, label, kind)
    if together:
        return DistributedWeightedRandomSampler(items, weights, even_divisible=True)  # type: ignore[arg-type]
    return WeightedRandomSampler(weights, len(items))

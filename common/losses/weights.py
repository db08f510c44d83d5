"""Weights of classes, from the training part alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch


def positive_weight(
    items: Sequence[Mapping[str, Any]], label: str = "cancer", most: float | None = None
) -> torch.Tensor:
    """Return how many negatives there are for each positive, float32 (1,): the ``pos_weight`` of weighted BCE.

    Args:
        items: of the training part, each with ``label`` as 0 or 1.
        label: its key.
        most: a bound.

    Raises:
        ValueError: there are no positives.
    """
    positives = sum(bool(item[label]) for item in items)
    if not positives:
        raise ValueError(f"None of {len(items)} training items has '{label}': there is nothing to learn. Add some.")
    ratio = (len(items) - positives) / positives
    return torch.tensor([min(ratio, most) if most else ratio])


def balanced_class_weights(items: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> torch.Tensor:
    """Return a weight for each class so that all classes present weigh the same, float32 (C,).

    The mean weight over the items is 1; a class without items has the weight 0.

    Args:
        items: of the training part, each with ``label``.
        classes: class names in the order of the network's output.
    """
    counts = Counter(item["label"] for item in items)
    present = sum(1 for name in classes if counts[name])
    return torch.tensor([len(items) / (present * counts[name]) if counts[name] else 0.0 for name in classes])

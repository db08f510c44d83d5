"""Weights of classes, from the training part alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch


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

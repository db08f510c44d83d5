"""What a classifier of mammograms is asked: a list of heads, and the target of each. Free of torch.

A head is a dictionary in a config: ``name`` (the datalist's key), ``kind`` ("binary", "classes" or "number"), the
``values`` of its classes in order (for "binary" the negative and the positive one, 0 and 1 by default), ``weight`` in
the loss, and for "number" the ``mean`` and ``std`` that it is standardised by. The first head is the main one: it
gives the probability, or those of several classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

KINDS = ("binary", "classes", "number")


@dataclass(frozen=True)
class Head:
    """One question to the network."""

    name: str
    kind: str = "binary"
    values: tuple[Any, ...] = (0, 1)
    weight: float = 1.0
    mean: float = 0.0
    std: float = 1.0

    @property
    def columns(self) -> int:
        """How many logits answer it."""
        return len(self.values) if self.kind == "classes" else 1

    def target(self, value: Any) -> float:
        """Return what the loss compares with: class index, 0 or 1, or standardised number; NaN where it is not known.

        A value that is none of the head's counts as not known.
        """
        if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
            return math.nan
        if self.kind == "number":
            return (float(value) - self.mean) / self.std
        return float(self.values.index(value)) if value in self.values else math.nan


def heads_of(config: Sequence[Mapping[str, Any]]) -> list[Head]:
    """Return the heads of a config.

    Raises:
        ValueError: there is none, an unknown kind, a name twice, too few values, or a first head that is a number.
    """
    heads = [Head(**{**one, "values": tuple(one.get("values", (0, 1)))}) for one in config]
    names = [head.name for head in heads]
    if not heads or heads[0].kind == "number":
        raise ValueError(f"The first head is 'binary' or 'classes': it gives the probability. The heads are {names}.")
    for head in heads:
        if head.kind not in KINDS or names.count(head.name) > 1 or len(head.values) < 2:
            raise ValueError(f"Head '{head.name}' is of no kind among {KINDS}, stands there twice, or lacks values.")
    return heads


def columns_of(config: Sequence[Mapping[str, Any]]) -> int:
    """Return how many logits the heads of a config take together."""
    return sum(head.columns for head in heads_of(config))


def binary_first(heads: Sequence[Head]) -> Sequence[Head]:
    """Return the heads, where the first one is binary.

    Raises:
        ValueError: it is not.
    """
    if heads[0].kind != "binary":
        raise ValueError(f"The first head has to be binary here; '{heads[0].name}' is of the kind '{heads[0].kind}'.")
    return heads


def slices_of(heads: Sequence[Head]) -> list[slice]:
    """Return where the logits of each head stand in a network's output."""
    ends = [sum(head.columns for head in heads[: n + 1]) for n in range(len(heads))]
    return [slice(end - head.columns, end) for head, end in zip(heads, ends, strict=True)]

"""Turn class names into numbers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform


class ClassIndex(Transform):
    """Return the place of a class name among ``classes`` as an int64 scalar tensor.

    Raises:
        ValueError: the name is not among them.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = list(classes)

    def __call__(self, name: str) -> torch.Tensor:
        if name not in self.classes:
            raise ValueError(f"Label '{name}' is none of the classes {self.classes}: prepare the data set again.")
        return torch.tensor(self.classes.index(name))


class ClassIndexd(MapTransform):
    """Dictionary version of `ClassIndex`."""

    def __init__(self, keys: KeysCollection, classes: Sequence[str], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.index = ClassIndex(classes)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            result[key] = self.index(result[key])
        return result

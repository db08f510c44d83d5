"""Turn class names into numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.config import KeysCollection
from monai.transforms import Transform

from common.transforms.each import EachKey


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


class ClassIndexd(EachKey):
    """Dictionary version of `ClassIndex`."""

    def __init__(self, keys: KeysCollection, classes: Sequence[str], allow_missing_keys: bool = False) -> None:
        super().__init__(keys, ClassIndex(classes), allow_missing_keys)

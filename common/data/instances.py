"""Lesions of an image as instances: one map of numbers, each with a class; boxes and masks out of it. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage


def split_mask(mask: np.ndarray, dilation: int = 0, smallest: int = 1) -> list[np.ndarray]:
    """Return the connected parts of a mask, each bool (H, W).

    Args:
        mask: bool (H, W).
        dilation: parts no further apart than twice these pixels are one.
        smallest: pixels that a part has to have.
    """
    joined = ndimage.binary_dilation(mask, iterations=dilation) if dilation else mask
    numbers, count = ndimage.label(joined, structure=np.ones((3, 3)))
    parts = [(numbers == number) & mask for number in range(1, count + 1)]
    return [part for part in parts if part.sum() >= smallest]


def instance_map(masks: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Return int16 (H, W): 0 where there is none of the masks, n + 1 in mask n; of two that overlap the smaller shows.

    Raises:
        ValueError: a mask is of another shape.
    """
    result = np.zeros(shape, np.int16)
    for number in sorted(range(len(masks)), key=lambda n: -int(masks[n].sum())):
        if masks[number].shape != tuple(shape):
            raise ValueError(
                f"A lesion's mask is {masks[number].shape}, and its image {tuple(shape)}: prepare them again."
            )
        result[masks[number]] = number + 1
    return result


def boxes_of(instances: np.ndarray, number: int, smallest: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the boxes (N, 4) of instances as (x1, y1, x2, y2), edges of pixels, and which instances they are (N,).

    Args:
        instances: (H, W), from `instance_map` or cut out of it.
        number: of instances that the whole map has.
        smallest: pixels; what shows less of itself is left out.
    """
    sizes = np.bincount(instances.ravel().astype(int), minlength=number + 1)
    found = ndimage.find_objects(instances.astype(int), max_label=number)
    kept = [n for n, place in enumerate(found, 1) if place is not None and sizes[n] >= smallest]
    boxes = [(found[n - 1][1].start, found[n - 1][0].start, found[n - 1][1].stop, found[n - 1][0].stop) for n in kept]
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(kept, int)


def class_of(label: str, classes: Sequence[str]) -> int | None:
    """Return the place of the first class all of whose words a label has; None for what is not looked for.

    >>> class_of("malignant mass", ["mass"]), class_of("malignant mass", ["benign mass", "malignant mass"])
    (0, 1)
    >>> class_of("benign calcification", ["mass"]) is None
    True
    """
    words = set(label.split())
    return next((place for place, name in enumerate(classes) if set(name.split()) <= words), None)


def lesions_of(item: Mapping[str, Any], classes: Sequence[str]) -> list[tuple[Any, int]]:
    """Return (mask's path, class) of an item's lesions that are looked for.

    An item has ``lesions``, each with ``mask`` and ``label``; or one ``mask`` of all of them, with the ``label`` of the
    image, as in BUSI, where an item without a lesion has none.
    """
    given = item.get("lesions")
    if given is None:
        given = [{"mask": item["mask"], "label": f"{item['label']} lesion"}] if item.get("mask") else []
    classed = [(lesion["mask"], class_of(str(lesion["label"]), classes)) for lesion in given]
    return [(mask, number) for mask, number in classed if number is not None]

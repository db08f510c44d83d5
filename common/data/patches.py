"""Patches of a mammogram: small context, large context, crop, and background. Free of torch.

Small context: windows at the mammogram's own resolution, at a stride over an abnormality. Large context: one square
around the whole abnormality with its surroundings, made as large as a window. Crop: the abnormality's own box, as tall
and wide as it is. Background: windows of breast tissue away from every abnormality. A place is (top, left, bottom,
right) in the mammogram's pixels, and may reach beyond its border, where a patch is black.

Source: paper 004's small context is that of TensorFlow Datasets' ``curated_breast_imaging_ddsm``; its large context
takes up Levy and Jain, Breast Mass Classification from Mammograms using Deep Convolutional Neural Networks (2016).
"""

from __future__ import annotations

import cv2
import numpy as np

Place = tuple[int, int, int, int]


def cut(image: np.ndarray, place: Place, size: int | None = None) -> np.ndarray:
    """Return the patch at a place (h, w), black beyond the border, resized to ``size`` squared where that is given."""
    top, left, bottom, right = place
    inside = image[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    before, after = (max(0, -top), max(0, -left)), (max(0, bottom - image.shape[0]), max(0, right - image.shape[1]))
    patch = np.pad(inside, tuple(zip(before, after, strict=True)))
    if size is None or patch.shape == (size, size):
        return patch
    shrink = patch.shape[0] > size
    return cv2.resize(patch, (size, size), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)


def small_context(mask: np.ndarray, size: int, stride: int, overlap: float = 0.5, most: int = 64) -> list[Place]:
    """Return windows over an abnormality, at a stride.

    A window counts where it holds at least ``overlap`` of the abnormality, or the abnormality fills as much of it. One
    that holds the abnormality's centre is always among them.

    Args:
        mask: of the abnormality, bool (H, W), not empty.
        size: of a window.
        stride: pixels between windows.
        overlap: share.
        most: how many; of more, those that overlap most are kept.
    """
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    sums = cv2.integral(mask.astype(np.uint8))
    centre = (int(rows[0] + rows[-1] + 1) // 2, int(columns[0] + columns[-1] + 1) // 2)
    starts = [_starts(ends, size, stride, middle) for ends, middle in zip((rows, columns), centre, strict=True)]
    places = [(top, left, top + size, left + size) for top in starts[0] for left in starts[1]]
    area, held = int(sums[-1, -1]), np.array([_held(sums, place) for place in places])
    share = np.maximum(held / area, held / size**2)
    chosen = [i for i in np.argsort(-share, kind="stable")[:most] if share[i] >= overlap]
    top, left = (place - size // 2 for place in centre)
    middle = places.index((top, left, top + size, left + size))
    return [places[i] for i in sorted({middle, *map(int, chosen)})]


def _starts(ends: np.ndarray, size: int, stride: int, middle: int) -> list[int]:
    """Return where windows start so that one is centred and the others cover what the abnormality spans."""
    first = middle - size // 2
    before = max(0, -(-(first - int(ends[0])) // stride))
    after = max(0, -(-(int(ends[-1]) + 1 - first - size) // stride))
    return [first + stride * step for step in range(-before, after + 1)]


def _held(sums: np.ndarray, place: Place) -> int:
    """Return how many mask pixels a window holds, from the mask's integral image."""
    top, bottom = np.clip([place[0], place[2]], 0, sums.shape[0] - 1)
    left, right = np.clip([place[1], place[3]], 0, sums.shape[1] - 1)
    return int(sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left])


def large_context(mask: np.ndarray, size: int, surroundings: float = 0.5) -> Place:
    """Return the square that holds a whole abnormality and its surroundings, ``size`` large at least.

    Args:
        mask: of the abnormality, bool (H, W), not empty.
        size: that it is resized to.
        surroundings: share of the abnormality's longer side that is added, half of it on either side.
    """
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    longer = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    side = max(size, round(longer * (1 + surroundings)))
    top, left = (int(ends[0] + ends[-1] + 1 - side) // 2 for ends in (rows, columns))
    return top, left, top + side, left + side


def crop(mask: np.ndarray) -> Place:
    """Return the box of an abnormality's mask, bool (H, W), not empty."""
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def background(
    breast: np.ndarray, abnormal: np.ndarray, size: int, number: int, rng: np.random.Generator, tries: int = 200
) -> list[Place]:
    """Return windows of breast tissue that touch no abnormality; fewer than asked for where there is no room.

    Args:
        breast: where it is, bool (H, W).
        abnormal: all abnormalities of the image, bool (H, W).
        size: of a window.
        number: how many.
        rng: source of randomness.
        tries: how many places are drawn at most.
    """
    inside, bad = (cv2.integral(part.astype(np.uint8)) for part in (breast, abnormal))
    places = np.argwhere(breast)
    found: list[Place] = []
    for row, column in places[rng.integers(len(places), size=tries)] if len(places) else []:
        top, left = int(row) - size // 2, int(column) - size // 2
        place = (top, left, top + size, left + size)
        if len(found) < number and not _held(bad, place) and _held(inside, place) >= 0.75 * size**2:
            found.append(place)
    return found

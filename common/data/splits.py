"""Draw a test set and folds that keep groups whole and classes in proportion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold


def draw_splits(
    labels: Sequence[str], groups: Sequence[str], folds: int = 5, test_share: float = 0.2, seed: int = 0
) -> list[tuple[str, int]]:
    """Return (split, fold) for each item: ("test", -1) or ("train", fold).

    Args:
        labels: the class of each item, to stratify by.
        groups: what must stay on one side (a patient, a group of near duplicates).
        folds: how many validation folds the training part is dealt into.
        test_share: the part of the items that is held out, about 1 / a whole number.
        seed: the same seed gives the same splits.

    Raises:
        ValueError: there are fewer groups than are needed.
    """
    labels_, groups_ = np.asarray(labels), np.asarray(groups)
    parts = round(1 / test_share)
    if len(set(groups)) < parts * folds:
        raise ValueError(
            f"{len(set(groups))} groups are too few for a test set and {folds} folds: at least {parts * folds} "
            "are needed. Add images, or ask for fewer --folds."
        )
    result: list[tuple[str, int]] = [("test", -1)] * len(labels)
    train, _ = next(iter(_kfold(labels_, groups_, parts, seed)))
    for index, fold in zip(train, draw_folds(labels_[train], groups_[train], folds, seed), strict=True):
        result[index] = ("train", fold)
    return result


def draw_folds(
    labels: Sequence[str] | np.ndarray, groups: Sequence[str] | np.ndarray, folds: int, seed: int
) -> list[int]:
    """Return the fold of each item of a training part that is given; groups whole, classes in proportion."""
    result = np.zeros(len(labels), int)
    for fold, (_, held_out) in enumerate(_kfold(np.asarray(labels), np.asarray(groups), folds, seed)):
        result[held_out] = fold
    return result.tolist()


def _kfold(labels: np.ndarray, groups: np.ndarray, parts: int, seed: int):
    rows = np.zeros(len(labels))
    if len(set(groups)) == len(groups):  # nothing to keep together: the simpler splitter is as good and exact
        return StratifiedKFold(parts, shuffle=True, random_state=seed).split(rows, labels)
    return StratifiedGroupKFold(parts, shuffle=True, random_state=seed).split(rows, labels, groups)

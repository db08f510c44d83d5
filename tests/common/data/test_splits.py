from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from common.data.splits import draw_splits


def drawn(seed: int = 0) -> tuple[list[str], list[str], list[tuple[str, int]]]:
    rng = np.random.default_rng(0)
    groups = [f"g{n}" for n in range(150) for _ in range(int(rng.integers(1, 4)))]
    label = {g: str(rng.choice(["benign", "malignant"], p=[0.7, 0.3])) for g in set(groups)}
    labels = [label[g] for g in groups]
    return labels, groups, draw_splits(labels, groups, seed=seed)


def test_groups_stay_whole() -> None:
    _, groups, splits = drawn()
    homes = {g: {s for h, s in zip(groups, splits, strict=True) if h == g} for g in set(groups)}
    assert all(len(home) == 1 for home in homes.values())


def test_classes_are_in_proportion() -> None:
    labels, _, splits = drawn()
    overall = labels.count("malignant") / len(labels)
    for place, number in Counter(splits).items():
        share = sum(la == "malignant" for la, s in zip(labels, splits, strict=True) if s == place) / number
        assert abs(share - overall) < 0.1


def test_a_seed_repeats_and_another_differs() -> None:
    assert drawn(1)[2] == drawn(1)[2] != drawn(2)[2]


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        draw_splits(["a"] * 10, [str(n) for n in range(10)])

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.patches import background, cut, large_context, small_context

SHAPE = (200, 150)


def mask(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    found = np.zeros(SHAPE, bool)
    found[top:bottom, left:right] = True
    return found


def test_a_small_abnormality_has_one_centred_window() -> None:
    assert small_context(mask(90, 60, 110, 80), 32, 16) == [(84, 54, 116, 86)]


def test_windows_walk_over_a_large_one_and_overlap_it_enough() -> None:
    large = mask(40, 30, 140, 110)
    places = small_context(large, 32, 16, overlap=0.9)
    assert len(places) > 10
    assert all(large[t:b, left:right].mean() >= 0.9 for t, left, b, right in places)
    covered = np.zeros(SHAPE, bool)
    for top, left, bottom, right in small_context(large, 32, 16, overlap=0.5):
        covered[top:bottom, left:right] = True
    assert (covered & large).sum() / large.sum() > 0.9
    assert len(small_context(large, 32, 16, most=5)) in (5, 6)


@given(st.integers(0, 190), st.integers(0, 140), st.integers(1, 60), st.integers(1, 60), st.integers(8, 64))
def test_the_centre_is_always_in_a_window(top: int, left: int, height: int, width: int, size: int) -> None:
    one = mask(top, left, min(top + height, SHAPE[0]), min(left + width, SHAPE[1]))
    places = small_context(one, size, max(1, size // 2))
    rows, columns = np.nonzero(one)
    centre = (rows[0] + rows[-1] + 1) // 2, (columns.min() + columns.max() + 1) // 2
    assert any(t <= centre[0] < b and le <= centre[1] < r for t, le, b, r in places)
    assert all((b - t, r - le) == (size, size) and cut(one, (t, le, b, r)).any() for t, le, b, r in places)


def test_large_context_holds_it_all_with_its_surroundings() -> None:
    assert large_context(mask(40, 30, 140, 110), 32) == (15, -5, 165, 145)  # 150 squared around (90, 70)
    assert large_context(mask(90, 60, 110, 80), 64) == (68, 38, 132, 102)  # never smaller than a window


def test_what_lies_beyond_the_border_is_black() -> None:
    patch = cut(np.ones(SHAPE, np.float32), (-10, 140, 10, 160))
    assert patch.shape == (20, 20) and patch[10:, :10].all() and patch.sum() == 100
    assert cut(np.ones(SHAPE, np.float32), (0, 0, 100, 100), 25).shape == (25, 25)


def test_background_is_breast_and_touches_no_abnormality() -> None:
    breast, bad = mask(20, 0, 180, 100), mask(60, 20, 100, 60)
    places = background(breast, bad, 24, 10, np.random.default_rng(0))
    assert len(places) == 10
    for place in places:
        assert not cut(bad, place).any() and cut(breast, place).mean() >= 0.75
    assert background(bad, bad, 24, 10, np.random.default_rng(0)) == []
    assert background(mask(0, 0, 0, 0), bad, 24, 3, np.random.default_rng(0)) == []


@pytest.mark.parametrize("size", [224, 299])
def test_a_window_larger_than_the_image_is_padded(size: int) -> None:
    (place,) = small_context(mask(0, 0, 10, 10), size, size // 2)
    assert cut(np.ones(SHAPE, np.float32), place).shape == (size, size)

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from common.metrics.bootstrap import difference, estimate, group_weights
from common.metrics.classification import roc_auc, weighted_mean


def test_rows_of_a_group_are_drawn_together() -> None:
    weights = group_weights(["a", "a", "b", "c"], resamples=50)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 1])
    np.testing.assert_array_equal(weights[:, [0, 2, 3]].sum(1), 3)


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    found = estimate(partial(weighted_mean, values), list(range(400)))
    half = 1.96 * values.std() / np.sqrt(400)
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.03)
    assert (found.n, found.groups) == (400, 400)


def test_copies_within_a_group_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(0).normal(size=50)
    alone = estimate(partial(weighted_mean, values), list(range(50)))
    copied = estimate(partial(weighted_mean, np.repeat(values, 10)), list(np.repeat(range(50), 10)))
    naive = estimate(partial(weighted_mean, np.repeat(values, 10)), list(range(500)))
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.1)
    assert naive.high - naive.low < 0.5 * (copied.high - copied.low)


def test_an_undefined_metric_is_nan_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="undefined"):
        found = estimate(partial(roc_auc, [True, True], [0.1, 0.2]), ["a", "b"])
    assert np.isnan([found.value, found.low, found.high]).all()


def test_the_interval_covers_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        found = estimate(partial(weighted_mean, rng.normal(size=80)), list(range(80)), resamples=400)
        hits += found.low <= 0 <= found.high
    assert 180 <= hits <= 199


def test_the_difference_of_equals_holds_zero() -> None:
    rng = np.random.default_rng(0)
    one, two = (partial(weighted_mean, rng.normal(size=100)) for _ in range(2))
    found = difference(one, list(range(100)), two, list(range(100)))
    assert found.low < 0 < found.high

"""Intervals from a bootstrap over patients or groups.

Resampling is expressed as weights: a resample that draws a group twice gives each of its rows the weight 2.
Every statistic takes weights (R, n) and returns R values at once, so that thousands of resamples cost a few
matrix products instead of a loop; they are drawn in chunks, so that memory stays bounded.

Source: B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13 (percentile interval).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Statistic = Callable[[np.ndarray], np.ndarray]
RESAMPLES = 2000
CHUNK = 4_000_000  # weights that are held at once


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval, the number of rows and of groups behind it."""

    value: float
    low: float
    high: float
    n: int
    groups: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (n={self.n})"


def group_weights(groups: Sequence, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return how often each row stands in each resample of whole groups (resamples, n).

    Args:
        groups: the patient or group of each row.
        resamples: how many.
        seed: the same seed draws the same resamples.
    """
    return np.concatenate(list(weight_chunks(groups, resamples, seed)))


def weight_chunks(groups: Sequence, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield `group_weights` some rows at a time, so that memory stays bounded."""
    _, index = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    number, rng = int(index.max()) + 1 if len(index) else 0, np.random.default_rng(seed)
    size = max(1, CHUNK // max(1, len(index)))
    for start in range(0, resamples, size):
        drawn = rng.multinomial(number, np.full(number, 1 / number), size=min(size, resamples - start))
        yield drawn.astype(np.float64)[:, index]


def draws_of(statistic: Statistic, groups: Sequence, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return a statistic on each resample of groups: (resamples,) or what it returns beyond, stacked."""
    return np.concatenate([statistic(weights) for weights in weight_chunks(groups, resamples, seed)])


def estimate(statistic: Statistic, groups: Sequence, resamples: int = RESAMPLES, seed: int = 0) -> Estimate:
    """Return a statistic of all rows with its 95 % percentile interval over resampled groups.

    Resamples in which the statistic is undefined (a class is missing) are left out. Where it is undefined
    on all rows the value and the interval are NaN, with a warning.

    Args:
        statistic: takes weights (R, n) and returns (R,).
        groups: the patient or group of each row.
    """
    n, number = len(groups), len(set(groups))
    value = float(statistic(np.ones((1, n)))[0]) if n else float("nan")
    if np.isnan(value):
        warnings.warn(f"A metric is undefined on {n} rows: a class or all lesions are missing.", stacklevel=2)
        return Estimate(value, float("nan"), float("nan"), n, number)
    draws = draws_of(statistic, groups, resamples, seed)
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return Estimate(value, float(low), float(high), n, number)


def estimates(
    statistics: Mapping[str, Statistic], groups: Sequence, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """Return `estimate` of several statistics of the same rows, on the same resamples, drawn once."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in statistics}
    for weights in weight_chunks(groups, resamples, seed):
        for name, statistic in statistics.items():
            parts[name].append(statistic(weights))
    n, number = len(groups), len(set(groups))
    ones = np.ones((1, n))
    values = {name: float(statistic(ones)[0]) for name, statistic in statistics.items()}
    return {name: _interval(values[name], np.concatenate(draws), n, number) for name, draws in parts.items()}


def _interval(value: float, draws: np.ndarray, n: int, groups: int) -> Estimate:
    if np.isnan(value):
        warnings.warn(f"A metric is undefined on {n} rows: a class or all lesions are missing.", stacklevel=3)
        return Estimate(value, float("nan"), float("nan"), n, groups)
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return Estimate(value, float(low), float(high), n, groups)


def difference(
    first: Statistic, first_groups: Sequence, second: Statistic, second_groups: Sequence, seed: int = 0
) -> Estimate:
    """Return first - second with its 95 % interval, the two resampled independently of each other.

    For two models on the same rows pair them instead: `estimate` of one statistic that subtracts.
    """
    ones = [np.ones((1, len(groups))) for groups in (first_groups, second_groups)]
    value = float(first(ones[0])[0] - second(ones[1])[0])
    draws = draws_of(first, first_groups, seed=seed) - draws_of(second, second_groups, seed=seed + 1)
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    n = len(first_groups) + len(second_groups)
    return Estimate(value, float(low), float(high), n, len(set(first_groups)) + len(set(second_groups)))

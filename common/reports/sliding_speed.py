"""How fast, and in how much memory, a classifier of patches slides over a mammogram, against a plain loop."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from common.networks.patch_classifier import PatchClassifier
from common.networks.sliding import SlidingPatches
from common.reports.memory import peak_memory

ARMS = ("loop over patches", "each window in the breast", "shared maps")


def enliven(network: PatchClassifier, image: torch.Tensor) -> PatchClassifier:
    """Return a network with random weights that answers as a trained one does: otherwise for every patch.

    Its batch normalisation gets random weights (residual branches begin with zero, and would add nothing) and the
    statistics of patches of the image (1, 1, H, W); it is left in evaluation mode.
    """
    high, wide = network.image_size
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.5, 1.5)
    patches = image[0].unfold(1, high, high).unfold(2, wide, wide).reshape(-1, 1, high, wide)
    with torch.no_grad():
        network.train()(patches[torch.linspace(0, len(patches) - 1, 16).long()])
    return network.eval()


def measure_sliding(
    network: PatchClassifier, image: torch.Tensor, inside: torch.Tensor, stride: int, batch_size: int, rounds: int
) -> dict[str, Any]:
    """Return the seconds and peak memory of each arm, one after the other in every round, and how their maps differ.

    Args:
        network: in evaluation mode, with a head that averages.
        image: (1, 1, H, W), normalised.
        inside: the breast, bool (1, 1, H, W).
        stride, batch_size: of all arms.
        rounds: of which the medians are taken.

    Returns:
        ``windows``, ``seconds`` and ``peak_mib`` (beyond what was there before) by arm, ``each`` and ``shared`` (the
        largest and the mean difference of their probabilities from the loop's), ``surrounded`` (the largest difference
        of shared maps from patches that were cut out with tissue around them).
    """
    ours = copy.deepcopy(network)  # the window lays its weights out for speed, which the plain loop does not
    each, shared = (SlidingPatches(network.image_size, stride, batch_size, way) for way in ("each", "shared"))
    arms: dict[str, Callable[[], torch.Tensor]] = {
        ARMS[0]: lambda: loop_over_patches(network, image, stride, batch_size),
        ARMS[1]: lambda: each(image, ours, inside=inside),
        ARMS[2]: lambda: shared(image, ours, inside=inside),
    }
    times: dict[str, list[float]] = {name: [] for name in arms}
    peaks, maps = dict.fromkeys(arms, 0.0), {}
    for _ in range(rounds):
        for name, arm in arms.items():
            with peak_memory() as peak:
                start = time.perf_counter()
                maps[name] = arm().sigmoid()
                times[name].append(time.perf_counter() - start)
            peaks[name] = max(peaks[name], peak[0])
    plain = maps[ARMS[0]]
    rows, columns = np.nonzero(~torch.isnan(maps[ARMS[2]][0, 0]).numpy())
    places = [(int(rows[i]), int(columns[i])) for i in np.linspace(0, len(rows) - 1, 12).round().astype(int)]
    return {
        "windows": int(np.prod(plain.shape[2:])),
        "seconds": {name: median(values) for name, values in times.items()},
        "peak_mib": peaks,
        "each": _difference(plain, maps[ARMS[1]]),
        "shared": _difference(plain, maps[ARMS[2]]),
        "surrounded": max(_surrounded(network, image, maps[ARMS[2]], place, stride) for place in places),
    }


def describe(found: dict[str, Any]) -> str:
    """Return what `measure_sliding` found as lines of text."""
    lines = [f"{found['windows']} windows"]
    for name, seconds in found["seconds"].items():
        ratio = found["seconds"][ARMS[0]] / seconds
        lines.append(
            f"  {name:<26} {seconds:7.1f} s, {ratio:5.2f} times as fast, {found['peak_mib'][name]:5.0f} MiB more"
        )
    lines.append(f"  each window in the breast: the loop's map to {found['each'][0]:.1e}")
    lines.append(f"  shared maps: those of patches with the tissue around them to {found['surrounded']:.1e};")
    most, mean = found["shared"]
    lines.append(f"  bare patches, which see zeros around them, differ by {most:.3f} at most, {mean:.4f} on average")
    return "\n".join(lines)


def loop_over_patches(network: PatchClassifier, image: torch.Tensor, stride: int, batch_size: int) -> torch.Tensor:
    """Return the logits (1, C, rows, columns) of every window, each cut out and sent through the network."""
    (high, wide), found = network.image_size, []
    tops, lefts = range(0, image.shape[2] - high + 1, stride), range(0, image.shape[3] - wide + 1, stride)
    places = [(top, left) for top in tops for left in lefts]
    with torch.no_grad():
        for start in range(0, len(places), batch_size):
            cut = [image[0, :, y : y + high, x : x + wide] for y, x in places[start : start + batch_size]]
            found.append(network(torch.stack(cut)))
    return torch.cat(found).T.reshape(1, -1, len(tops), len(lefts))


def _difference(plain: torch.Tensor, other: torch.Tensor) -> tuple[float, float]:
    there = (plain - other).abs()
    there = there[~torch.isnan(there)]
    return float(there.max()), float(there.mean())


def _surrounded(
    network: PatchClassifier, image: torch.Tensor, shared: torch.Tensor, place: tuple[int, int], stride: int
) -> float:
    """Return how much a window of the shared maps differs from its patch with the tissue around it."""
    assert network.reach is not None
    step, around = network.step, network.reach + network.step
    (row, column), (high, wide), (rows, columns) = place, network.image_size, network.map_size
    top, left = row * stride, column * stride
    first = max(0, top - around), max(0, left - around)
    part = image[..., first[0] : top + high + around, first[1] : left + wide + around]
    up, across = (top - first[0]) // step, (left - first[1]) // step
    with torch.no_grad():
        maps = network.features(part)[..., up : up + rows, across : across + columns]
        expected = network.head(maps.mean((2, 3)))[0].sigmoid()
    return float((shared[0, :, row, column] - expected).abs().max())

"""A detector without learning, to measure others by: bright blobs of any size."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_laplace, maximum_filter


def bright_blobs(picture: np.ndarray, most: int = 20, steps: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes (N, 4) as (x1, y1, x2, y2) around bright blobs, and how they stand out (N,), the clearest first.

    Args:
        picture: (H, W) in [0, 1].
        most: how many.
        steps: scales, from 1/64 to 1/8 of the longer side.

    Source: Lindeberg, Feature Detection with Automatic Scale Selection, IJCV 30 (1998): maxima of the
    scale-normalised Laplacian of Gaussians; a disc of radius r answers best at r / sqrt(2).
    """
    grey = np.asarray(picture, np.float32)
    radii = np.geomspace(max(grey.shape) / 64, max(grey.shape) / 8, steps)
    space = np.stack([-(r**2) / 2 * gaussian_laplace(grey, r / np.sqrt(2)) for r in radii])
    peaks = np.argwhere((space == maximum_filter(space, 3)) & (space > 0))
    scores = space[tuple(peaks.T)]
    best = np.argsort(-scores, kind="stable")[:most]
    (_, rows, columns), reach = peaks[best].T, radii[peaks[best, 0]]
    high, wide = grey.shape
    boxes = np.stack([columns + 0.5 - reach, rows + 0.5 - reach, columns + 0.5 + reach, rows + 0.5 + reach], 1)
    return np.clip(boxes, 0, [wide, high, wide, high]).astype(np.float32), scores[best]

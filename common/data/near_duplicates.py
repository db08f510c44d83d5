"""Find duplicate and near-duplicate images from their pixels, and group them.

Two images are near duplicates when a similarity transform (scale, rotation, shift) maps SIFT keypoints
of one onto the other **and** the tissue agrees once the one is warped onto the other. The second half is
what makes it safe: the text and calipers that a scanner draws match between strangers, their tissue does not.
Adjacent frames whose speckle has changed keep few keypoints; a correlation of small band-passed pictures
over shifts finds those. Keypoints, matching and RANSAC are OpenCV's.

Source: D. Lowe, Distinctive image features from scale-invariant keypoints, IJCV 60 (2004).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import cv2
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from common.data.processes import process_pool

LONG_SIDE = 384  # pixels; speckle finer than this differs between re-encodings
KEYPOINTS = 400
LOWE_RATIO = 0.8
MIN_INLIERS = 6
MIN_OVERLAP = 0.4  # share of the target covered by the warped image
MIN_AGREEMENT = 0.5  # correlation of the band-passed overlap; strangers stay below .45
MAX_SCALE = 2.5
THUMBNAIL, SHIFT = 96, 8  # pixels; shifts of up to 8 % are tried
MIN_THUMBNAIL_AGREEMENT = 0.52  # strangers stay below .50


@dataclass(frozen=True)
class Fingerprint:
    """What is compared of one image: a small picture, its keypoints and a band-passed thumbnail."""

    picture: np.ndarray  # (h, w) uint8
    points: np.ndarray  # (n, 2) float32, x and y
    descriptors: np.ndarray  # (n, 128) float32, RootSIFT, rows of unit length
    thumbnail: np.ndarray  # (THUMBNAIL, THUMBNAIL) float32


def fingerprint(image: np.ndarray) -> Fingerprint:
    """Describe a grey image (H, W) with values in [0, 1] for `find_pairs`."""
    grey = np.round(image * 255).astype(np.uint8)
    scale = LONG_SIDE / max(grey.shape)
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    keypoints, descriptors = cv2.SIFT_create(nfeatures=KEYPOINTS, contrastThreshold=0.02).detectAndCompute(small, None)
    points = np.array([k.pt for k in keypoints], np.float32).reshape(-1, 2)[:KEYPOINTS]
    root = np.zeros((0, 128), np.float32)
    if descriptors is not None:
        root = np.sqrt(descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1))[:KEYPOINTS]
    return Fingerprint(small, points, root.astype(np.float32), _local_contrast(grey))


def _local_contrast(grey: np.ndarray) -> np.ndarray:
    small = cv2.resize(grey.astype(np.float32), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    band = cv2.GaussianBlur(small, (0, 0), 1.2) - cv2.GaussianBlur(small, (0, 0), 6)
    return np.clip(band / np.sqrt(cv2.GaussianBlur(band * band, (0, 0), 6) + 9), -2, 2)


def _matches(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return index pairs (m, 2) of descriptors that pass Lowe's ratio test."""
    if len(a) < 2 or len(b) < 2:
        return np.zeros((0, 2), int)
    similarity = a @ b.T
    rows = np.arange(len(a))
    nearest = similarity.argmax(1)
    best = similarity[rows, nearest].copy()
    similarity[rows, nearest] = -1
    passed = 1 - best < LOWE_RATIO**2 * (1 - similarity.max(1))  # for unit vectors distance² = 2 - 2 cos
    return np.stack([rows[passed], nearest[passed]], 1)


def _agreement(a: np.ndarray, b: np.ndarray, transform: np.ndarray) -> float:
    """Return the correlation of the band-passed pictures where ``a``, warped, covers ``b``; 0 if it hardly does."""
    size = (b.shape[1], b.shape[0])
    covered = cv2.warpAffine(np.ones_like(a), transform, size) > 0
    if covered.mean() < MIN_OVERLAP:
        return 0.0
    warped = cv2.warpAffine(a, transform, size)
    first, second = (_band_pass(p.astype(np.float32))[covered] for p in (warped, b))
    return float(np.corrcoef(first, second)[0, 1]) if first.std() > 0 and second.std() > 0 else 0.0


def _band_pass(picture: np.ndarray) -> np.ndarray:
    smooth = cv2.GaussianBlur(picture, (0, 0), 4)
    return smooth - cv2.GaussianBlur(smooth, (0, 0), 20)


def same_by_keypoints(a: Fingerprint, b: Fingerprint) -> bool:
    """Tell whether keypoints and tissue of two images agree under one similarity transform."""
    pairs = _matches(a.descriptors, b.descriptors)
    if len(pairs) < MIN_INLIERS:
        return False
    cv2.setRNGSeed(0)
    transform, inliers = cv2.estimateAffinePartial2D(
        a.points[pairs[:, 0]], b.points[pairs[:, 1]], ransacReprojThreshold=4, maxIters=500
    )
    if transform is None or inliers.sum() < MIN_INLIERS:
        return False
    scale = float(np.hypot(*transform[:, 0]))
    return 1 / MAX_SCALE <= scale <= MAX_SCALE and _agreement(a.picture, b.picture, transform) >= MIN_AGREEMENT


def _same_by_thumbnail(thumbnails: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs whose thumbnails (n, T, T) correlate at some shift."""

    def unit(stack: np.ndarray) -> np.ndarray:
        flat = stack.reshape(len(stack), -1)
        flat = flat - flat.mean(1, keepdims=True)
        return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)

    inner = THUMBNAIL - 2 * SHIFT
    centre = unit(thumbnails[:, SHIFT : SHIFT + inner, SHIFT : SHIFT + inner])
    best = np.full((len(thumbnails), len(thumbnails)), -1.0, np.float32)
    for y in range(2 * SHIFT + 1):
        for x in range(2 * SHIFT + 1):
            best = np.maximum(best, centre @ unit(thumbnails[:, y : y + inner, x : x + inner]).T)
    found = np.argwhere(np.triu(np.maximum(best, best.T) >= MIN_THUMBNAIL_AGREEMENT, 1))
    return [(int(i), int(j)) for i, j in found]


_shared: Sequence[Fingerprint] = ()


def _set_shared(fingerprints: Sequence[Fingerprint]) -> None:
    """Hand a worker all fingerprints once."""
    global _shared
    _shared = fingerprints


def _partners(first: int) -> list[tuple[int, int]]:
    return [(first, j) for j in range(first + 1, len(_shared)) if same_by_keypoints(_shared[first], _shared[j])]


def find_pairs(fingerprints: Sequence[Fingerprint], workers: int = 1, progress: bool = False) -> list[tuple[int, int]]:
    """Return the index pairs (i, j), i < j, of near duplicates among all pairs of images.

    Args:
        fingerprints: one per image, by `fingerprint`.
        workers: processes; 780 images take some 5 minutes of one core.
        progress: show a progress bar.
    """
    if len(fingerprints) < 2:
        return []
    show = partial(tqdm, total=len(fingerprints), desc="Comparing images", unit="image", disable=not progress)
    with process_pool(workers, _set_shared, fingerprints) as pool:
        by_keypoints = list(show(pool.map(_partners, range(len(fingerprints)), chunksize=4)))
    by_thumbnail = _same_by_thumbnail(np.stack([f.thumbnail for f in fingerprints]))
    return sorted({*chain.from_iterable(by_keypoints), *by_thumbnail})


def group(number: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Return for each of ``number`` images the smallest index among those it is joined to by ``pairs``.

    >>> group(4, [(1, 3)])
    [0, 1, 2, 1]
    """
    edges = np.array(list(pairs), int).reshape(-1, 2)
    graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(number, number))
    _, component = connected_components(graph, directed=False)
    first: dict[int, int] = {}
    for index, name in enumerate(component):
        first.setdefault(int(name), index)
    return [first[int(name)] for name in component]

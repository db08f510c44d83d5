"""Where the breast lies in a mammogram, and on which side the chest wall is. Free of torch.

Film is not black where there is no breast: labels, tape, white edges, fog and scatter are brighter than the dim fat
below the skin. So the threshold follows the film (Li's minimum cross entropy of the logarithm, which is near to optical
density), and shape decides what is breast: the largest piece that is left after thin bridges are cut.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
from skimage.filters import threshold_li

Side = Literal["left", "right"]
ROWS = 256  # longer side of the picture that the mask is found in
TILT = 0.3  # of the threshold from top to bottom: scatter is strong at the axilla, fat thin at the fold below
FOG = 0.02  # keeps the logarithm of black finite
BRIDGE = 5  # pixels there: what is thinner is no breast
EMPTY = 0.01  # of the frame: what is smaller is no breast
STRIP = 0.08  # of the frame's side: a piece that is no wider and runs along a whole border is an edge of the film

TAPE = 0.1  # of the frame's side: how deep tape lies over it
TO_TOP: tuple[Callable[[np.ndarray], np.ndarray], ...] = (  # views with the top, bottom, left, right border at the top
    lambda a: a,
    lambda a: a[::-1],
    lambda a: a.T,
    lambda a: a.T[::-1],
)
JUMP, ACROSS = 0.08, 0.8  # in brightness, and along what share of the breast's width, at the edge of tape


def breast_mask(image: np.ndarray) -> np.ndarray:
    """Return the mask (H, W), bool, of the breast with its pectoral muscle; all False where there is none.

    Args:
        image: (H, W) float in [0, 1], tissue bright.

    Raises:
        ValueError: the image has another shape, is empty, or holds NaN or infinite values.

    Example:
        >>> picture = np.zeros((200, 100), np.float32)
        >>> _ = cv2.circle(picture, (0, 100), 60, 0.5, -1)
        >>> mask = breast_mask(picture)
        >>> bool(mask[picture > 0].all()), bool(mask.sum() < 1.1 * (picture > 0).sum())
        (True, True)
    """
    small = shrunk(image, ROWS)
    smooth = cv2.GaussianBlur(small, (0, 0), 1)
    if np.ptp(smooth) < 0.01:
        return np.zeros(image.shape, bool)
    downwards = np.linspace(0.5, -0.5, len(smooth), dtype=np.float32)[:, None]
    bright = smooth > film_threshold(smooth) * (1 + TILT * downwards)
    piece = _main_piece(bright)
    taped = _tape(small, piece)
    return grown(_main_piece(bright & ~taped) if taped.any() else piece, image.shape)


def shrunk(image: np.ndarray, longer: int) -> np.ndarray:
    """Return a checked image (H, W) as float32, made smaller by area until its longer side has ``longer`` pixels.

    A long and narrow one keeps a quarter of that across.
    """
    if image.ndim != 2 or image.size == 0:
        raise ValueError(f"A mammogram is one grey image (H, W), not an array of shape {image.shape}.")
    scale = min(1.0, max(longer / max(image.shape), longer / 4 / min(image.shape)))
    columns, rows = (max(1, round(side * scale)) for side in image.shape[::-1])
    small = cv2.resize(np.ascontiguousarray(image, np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    if not np.isfinite(small).all():
        raise ValueError("The image holds NaN or infinite values (expected floats from 0 to 1). Load it again.")
    return small


def grown(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask, bool, brought to the ``shape`` (H, W) of the image that it was found for."""
    if mask.shape == shape:
        return mask
    return cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR) > 0.5


def film_threshold(image: np.ndarray) -> float:
    """Return the value above which a pixel may be breast; a dim image has one in proportion."""
    brightest = float(np.clip(1.25 * np.percentile(image, 99.9), FOG, 1))
    between = float(np.exp(threshold_li(np.log(image / brightest + FOG)))) - FOG
    return brightest * (0.06 + 0.4 * between)


def _disk(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)


def _main_piece(bright: np.ndarray) -> np.ndarray:
    """Return the largest piece of what is bright, without bridges to labels, filled."""
    bright = bright.astype(np.uint8)
    core = _largest(cv2.erode(bright, _disk(BRIDGE), borderType=cv2.BORDER_CONSTANT, borderValue=1))
    piece = _largest(cv2.dilate(core, _disk(BRIDGE + 1)) & bright)
    contours, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(piece, contours, -1, 1, cv2.FILLED).astype(bool)


def _tape(image: np.ndarray, piece: np.ndarray) -> np.ndarray:
    """Return the mask of tape and film edges along the frame that a piece runs under.

    Brightness changes across all of the piece on one straight line along the frame: anatomy has no such line.
    """
    taped = np.zeros(image.shape, bool)
    for to_top in TO_TOP:
        turned, inside, found = to_top(image), to_top(piece), to_top(taped)  # views
        depth = int(TAPE * len(turned))
        if depth <= 3 or not inside[:2].any():
            continue
        jumps = turned[4 : depth + 1] - turned[1 : depth - 2]
        there = inside[3:depth] & inside[1 : depth - 2]
        wide = np.maximum(there.sum(1), 1)
        share = np.maximum((there & (jumps > JUMP)).sum(1), (there & (jumps < -JUMP)).sum(1)) / wide
        lines = np.flatnonzero((share >= ACROSS) & (wide > 0.15 * turned.shape[1]))
        if len(lines):
            found[: lines[-1] + 5] = True
    return taped


def _largest(pieces: np.ndarray) -> np.ndarray:
    """Return the largest connected piece that is neither an edge of the film nor next to nothing."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(pieces, connectivity=4)
    area, width, height = stats[:, cv2.CC_STAT_AREA].copy(), stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT]
    rows, columns = pieces.shape
    strip = (width < STRIP * columns) & (height > 0.5 * rows) | (height < STRIP * rows) & (width > 0.5 * columns)
    area[0], area[strip] = 0, 0
    best = int(np.argmax(area))
    if count < 2 or area[best] < EMPTY * pieces.size:
        return np.zeros_like(pieces)
    return (labels == best).astype(np.uint8)


def bounding_box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Return (top, bottom, left, right), ends exclusive, of what is set in a mask (H, W); None where nothing is."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def cut_shares(mask: np.ndarray) -> tuple[float, float]:
    """Return along which shares of its height a breast's mask (H, W) runs into its own left and right end.

    The chest wall is cut straight and long by the edge of detector or film; the other end bulges, unless it is cut too.
    """
    box = bounding_box(mask)
    if box is None:
        return 0.0, 0.0
    top, bottom, left, right = box
    reach = max(1, (right - left) // 32)
    inside = mask[top:bottom, left:right]
    return float(inside[:, :reach].any(1).mean()), float(inside[:, -reach:].any(1).mean())


def chest_wall_side(mask: np.ndarray) -> Side | None:
    """Return the side of the frame that the chest wall lies on, told from a breast's mask (H, W); None if unclear."""
    left, right = cut_shares(mask)
    if max(left, right) < 1.25 * min(left, right) or not max(left, right):
        return None
    return "left" if left > right else "right"

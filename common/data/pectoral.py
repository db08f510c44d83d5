"""Where the pectoral muscle lies in an MLO mammogram: a line voted for by gradients, then bent to the edge.

The idea of edges, gradients and a Hough transform is paper 001's (Georgia Tech); here every line that the muscle's edge
can be is scored by the fall of brightness across it, the best one is followed pixel by pixel, and what was found is
checked before it is believed. Free of torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from common.data.breast import Side, bounding_box, breast_mask, chest_wall_side, grown, shrunk

ROWS = 256  # longer side of the picture that the muscle is looked for in
BLUR = 3.0  # pixels of that picture
STEP = 3.0  # pixels to both sides of an edge that the fall across it is taken between
FOG = 0.3  # keeps the logarithm, in which a fall counts by its ratio, from favouring dark places
SAMPLES = 64  # along a line
ANGLES = (45.0, 85.0)  # degrees between the edge and the top of the frame
SHARES = (0.015, 0.45)  # of the breast's area
HIGHEST_FALL = 0.5  # what falls more counts no more: tape and folds
LEAST_FALL = 0.07  # of the logarithm across the edge: its mean and half its 20th percentile
LEAST_CONTRAST = 1.05  # of the median brightness within to that of the tissue along the edge
LEAST_EVIDENCE = 0.24  # the fall and what the contrast has above 1, together
MARGIN = 1.0  # pixels that are left of the muscle rather than taken of the breast
BEND = 8  # pixels to both sides of the line that the edge may leave it
STIFFNESS = 0.2  # fall that a pixel of bending must be worth


@dataclass(frozen=True)
class Pectoral:
    """The muscle's mask (H, W), bool, or None with the reason why."""

    mask: np.ndarray | None
    reason: str = ""
    angle: float = float("nan")  # degrees between its edge and the top of the frame
    fall: float = float("nan")  # of the logarithm of brightness across the edge
    contrast: float = float("nan")  # of the brightness within to that of the tissue along the edge


def pectoral_mask(image: np.ndarray, view: str | None = "MLO", laterality: str | None = None) -> np.ndarray | None:
    """Return the mask (H, W), bool, of the pectoral muscle of an MLO view; None for other views, and if unsure.

    Args:
        image: (H, W) float in [0, 1], tissue bright.
        view: ViewPosition; anything but MLO has nothing removed.
        laterality: L or R, for images whose chest wall cannot be told from the picture.

    Raises:
        ValueError: as `common.data.breast.breast_mask`.
    """
    return find_pectoral(image, view, laterality).mask


def find_pectoral(
    image: np.ndarray, view: str | None = "MLO", laterality: str | None = None, breast: np.ndarray | None = None
) -> Pectoral:
    """Return the pectoral muscle, or the reason for which there is none; ``breast`` is its mask where it is known."""
    if view != "MLO":
        return Pectoral(None, f"the view is {view or 'unknown'}, not MLO")
    small = shrunk(image, ROWS)
    inside = breast_mask(small) if breast is None else grown(breast, small.shape)
    side: Side | None = chest_wall_side(inside)
    if side is None and laterality in ("L", "R"):
        side = "left" if laterality == "L" else "right"
    box = bounding_box(inside)
    if box is None or side is None:
        return Pectoral(None, "no breast was found" if box is None else "the side of the chest wall is unclear")
    top, bottom, left, right = box
    turn = slice(None, None, -1 if side == "right" else 1)
    cut = (slice(top, bottom), slice(left, right))
    found = _search(small[cut][:, turn], inside[cut][:, turn])
    if found.mask is None:
        return found
    whole = np.zeros(small.shape, bool)
    whole[cut] = found.mask[:, turn]
    return replace(found, mask=grown(whole, image.shape))


def _search(picture: np.ndarray, breast: np.ndarray) -> Pectoral:
    """Look for the muscle in the upper left corner of a breast that is turned and cropped."""
    across, down = _lines(picture.shape, breast)
    if not len(across):
        return Pectoral(None, "the breast is too small")
    blurred = cv2.GaussianBlur(np.ascontiguousarray(picture), (0, 0), BLUR, borderType=cv2.BORDER_REPLICATE)
    log = np.log(blurred + FOG)
    scores = _steady_fall(_falls(log, breast, across, down))
    best = int(np.argmax(scores))
    x, y, fall = float(across[best]), float(down[best]), float(scores[best])
    mask = _corner(log, breast, x, y)
    around = _triangle(log.shape, 1.3 * x, 1.3 * y) & breast & ~mask
    beside = float(np.median(blurred[around])) if around.any() else float("nan")
    contrast = float(np.median(blurred[mask])) / max(beside, 1e-3) if mask.any() else 0.0
    reason = _doubt(fall, contrast, mask.sum() / breast.sum())
    return Pectoral(None if reason else mask, reason, float(np.degrees(np.arctan2(y, x))), fall, contrast)


def _lines(shape: tuple[int, ...], breast: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the possible edges cut the top (x) and the chest wall (y), in pixels."""
    rows = shape[0]
    top = np.flatnonzero(breast[: max(2, rows // 50)].any(0))
    reach = max(1.05 * top.max(initial=0), 0.3 * rows)
    across, down = np.meshgrid(np.arange(8, reach, rows / 100), np.arange(0.12 * rows, 1.4 * rows, rows / 80))
    angle, share = np.degrees(np.arctan2(down, across)), across * np.minimum(down, rows) / 2 / breast.sum()
    possible = (angle > ANGLES[0]) & (angle < ANGLES[1]) & (share > SHARES[0]) & (share < SHARES[1])
    return across[possible], down[possible]


def _points(across: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return y and x (lines, SAMPLES) along each line, and the y and x (lines, 1) of its unit normal, outward."""
    along = np.linspace(0.02, 0.98, SAMPLES, dtype=np.float32)[None]
    across, down = across[:, None], down[:, None]
    length = np.hypot(across, down)
    return down * along, across * (1 - along), across / length, down / length


def _at(values: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    rows = np.clip(y + 0.5, 0, values.shape[0] - 1).astype(np.intp)
    return values[rows, np.clip(x + 0.5, 0, values.shape[1] - 1).astype(np.intp)]


def _falls(log: np.ndarray, breast: np.ndarray, across: np.ndarray, down: np.ndarray, offset: float = 0) -> np.ndarray:
    """Return by how much the logarithm falls across each line at each sample (lines, SAMPLES); NaN off the breast.

    With ``offset`` the fall is taken that many pixels further out.
    """
    y, x, up, out = _points(across, down)
    y, x = y + offset * up, x + offset * out
    dy, dx = STEP * up, STEP * out
    fall = _at(log, y - dy, x - dx) - _at(log, y + dy, x + dx)
    inside = (y < log.shape[0] - 1) & _at(breast, y, x) & _at(breast, y + 2 * dy, x + 2 * dx)
    return np.where(inside, np.clip(fall, -HIGHEST_FALL, HIGHEST_FALL), np.nan)


def _steady_fall(falls: np.ndarray) -> np.ndarray:
    """Return the mean and half the 20th percentile of each line's falls; -1 where too little of it can be seen."""
    seen = np.isfinite(falls).sum(1)
    mean = np.nansum(falls, 1) / np.maximum(seen, 1)
    low = np.sort(falls, 1)[np.arange(len(falls)), seen // 5]  # NaN stands last
    return np.where(seen < SAMPLES / 3, -1.0, mean + low / 2)


def _triangle(shape: tuple[int, ...], across: float, down: float) -> np.ndarray:
    """Return the mask of the upper left corner that a line cuts off."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    return x / across + y / down < 1


def _corner(log: np.ndarray, breast: np.ndarray, across: float, down: float) -> np.ndarray:
    """Return the mask of the corner that the edge near a line cuts off: the path of steepest fall along it."""
    line = np.array([across]), np.array([down])
    offsets = np.arange(-BEND, BEND + 1)
    falls = np.stack([np.nan_to_num(_falls(log, breast, *line, float(k))[0]) for k in offsets])  # (offsets, SAMPLES)
    path = cv2.GaussianBlur(offsets[_best_path(falls)].astype(np.float32)[None], (0, 0), 2)[0]
    y, x, up, out = (values[0] for values in _points(*line))
    y, x = y + (path - MARGIN) * up, x + (path - MARGIN) * out
    ends = (x[0] + (x[0] - x[1]) * 3, -2.0), (-2.0, y[-1] + (y[-1] - y[-2]) * 3)
    outline = np.array([(-2.0, -2.0), ends[0], *zip(x, y, strict=True), ends[1]])
    mask = cv2.fillPoly(np.zeros(log.shape, np.uint8), [np.round(outline).astype(np.int32)], 1)
    return mask.astype(bool) & breast


def _best_path(gains: np.ndarray) -> np.ndarray:
    """Return the row of each column (rows, columns) of the path of greatest gain, each step to a neighbour costing."""
    rows, columns = gains.shape
    total, origin = gains[:, 0].copy(), np.zeros((columns, rows), np.intp)
    for column in range(1, columns):
        near = np.full((3, rows), -np.inf)
        near[0, 1:], near[1], near[2, :-1] = total[:-1] - STIFFNESS, total, total[1:] - STIFFNESS
        choice = near.argmax(0)
        origin[column] = np.arange(rows) + choice - 1
        total = near.max(0) + gains[:, column]
    path = [int(total.argmax())]
    for column in range(columns - 1, 0, -1):
        path.append(int(origin[column][path[-1]]))
    return np.array(path[::-1])


def _doubt(fall: float, contrast: float, share: float) -> str:
    """Return why an edge is not believed to be the muscle's, or nothing."""
    if not fall >= LEAST_FALL:
        return f"the brightness across its edge falls too little ({fall:.3f} of {LEAST_FALL})"
    if not contrast >= LEAST_CONTRAST:  # undefined where no tissue is left beside it
        return f"it is not brighter than the tissue beside it ({contrast:.2f} times)"
    if fall + contrast - 1 < LEAST_EVIDENCE:
        return f"fall ({fall:.3f}) and contrast ({contrast:.2f}) of its edge are both small"
    if not SHARES[0] <= share <= SHARES[1]:
        return f"it would be {share:.1%} of the breast"
    return ""

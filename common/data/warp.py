"""One geometric change of an image: affine and distortion in a single map, which can be followed both ways.

Points are (x, y) in pixels at pixel centres. An output point p shows the input at ``matrix · (p + bend(p))``, where the
bend, in output pixels, is given on a grid of nodes over the frame and linear between them. Free of torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

NODES = 33  # a side of the grid on which maps are worked out
ROUNDS = 25  # of the fixed point that inverts a bend; each shrinks the error by the bend's slope
BORDERS = {"zeros": cv2.BORDER_CONSTANT, "border": cv2.BORDER_REPLICATE, "reflection": cv2.BORDER_REFLECT_101}
MODES = {"bilinear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST}


@dataclass(frozen=True)
class Warp:
    """A geometric change of frames of one size; ``shape`` is (H, W), ``matrix`` (3, 3) from output to input points."""

    shape: tuple[int, int]
    matrix: np.ndarray
    bend: np.ndarray | None = None  # (n, n, 2) in pixels, x then y; from the frame's first to its last pixel

    def to_input(self, points: np.ndarray) -> np.ndarray:
        """Return where in the input the output's points (N, 2) come from."""
        return _through(self.matrix, points + self._bend_at(points))

    def to_output(self, points: np.ndarray) -> np.ndarray:
        """Return where the input's points (N, 2) come to lie in the output."""
        straight = _through(np.linalg.inv(self.matrix), points)
        found = straight
        for _ in range(ROUNDS if self.bend is not None else 0):
            found = straight - self._bend_at(found)
        return found

    def apply(self, image: np.ndarray, mode: str = "bilinear", padding: str = "zeros") -> np.ndarray:
        """Return the output for an input image (H, W) float32."""
        return self._sampled(image, mode, padding, inverse=False)

    def undo(self, image: np.ndarray, mode: str = "bilinear", padding: str = "zeros") -> np.ndarray:
        """Return the input for an output image (H, W) float32; what had left the frame is padding."""
        return self._sampled(image, mode, padding, inverse=True)

    def boxes_to_output(self, boxes: np.ndarray) -> np.ndarray:
        """Return the boxes (N, 4) that frame boxes of the input, as (x1, y1, x2, y2) at pixel edges."""
        return self._framed(boxes, self.to_output)

    def boxes_to_input(self, boxes: np.ndarray) -> np.ndarray:
        """Return the boxes (N, 4) that frame boxes of the output, as (x1, y1, x2, y2) at pixel edges."""
        return self._framed(boxes, self.to_input)

    def _framed(self, boxes: np.ndarray, move: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        share = np.linspace(0, 1, 17)
        around = np.concatenate([[(s, 0), (s, 1), (0, s), (1, s)] for s in share]).reshape(-1, 2)
        result = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        for row in result:
            points = move(row[:2] + around * (row[2:] - row[:2]) - 0.5) + 0.5
            row[:2], row[2:] = points.min(0), points.max(0)
        return result

    def _bend_at(self, points: np.ndarray) -> np.ndarray:
        if self.bend is None:
            return np.zeros_like(points)
        last = np.maximum(np.array(self.shape[::-1]) - 1, 1)
        place = np.clip(points / last * (len(self.bend) - 1), 0, len(self.bend) - 1)
        low = np.minimum(place.astype(np.intp), len(self.bend) - 2)
        (u, v), (x, y) = (place - low).T[..., None], low.T
        upper = (1 - u) * self.bend[y, x] + u * self.bend[y, x + 1]
        lower = (1 - u) * self.bend[y + 1, x] + u * self.bend[y + 1, x + 1]
        return (1 - v) * upper + v * lower

    def _sampled(self, image: np.ndarray, mode: str, padding: str, inverse: bool) -> np.ndarray:
        flags, border = MODES[mode], BORDERS[padding]
        if self.bend is not None:
            field = self._field(self.to_output if inverse else self.to_input)
            return cv2.remap(image, field, None, flags, borderMode=border)
        matrix = np.linalg.inv(self.matrix) if inverse else self.matrix
        if _only_mirrors(matrix, self.shape):
            return np.ascontiguousarray(image[:: int(matrix[1, 1]), :: int(matrix[0, 0])])
        flags |= cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(image, matrix[:2], self.shape[::-1], flags=flags, borderMode=border)

    def _field(self, sources: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return where each pixel comes from (H, W, 2) float32: worked out at nodes, linear between them."""
        rows, columns = self.shape
        steps = [max(1, -(-side // NODES)) for side in (rows, columns)]  # whole pixels, so that resizing hits the nodes
        counts = [-(-side // step) + 2 for side, step in zip((rows, columns), steps, strict=True)]
        y, x = ((np.arange(n) - 0.5) * step - 0.5 for n, step in zip(counts, steps, strict=True))
        nodes = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
        coarse = sources(nodes).astype(np.float32).reshape(*counts, 2)
        whole = (counts[1] * steps[1], counts[0] * steps[0])
        fine = cv2.resize(coarse, whole, interpolation=cv2.INTER_LINEAR)
        return fine[steps[0] : steps[0] + rows, steps[1] : steps[1] + columns]


def _only_mirrors(matrix: np.ndarray, shape: tuple[int, int]) -> bool:
    signs, last = matrix[[0, 1], [0, 1]], np.array(shape[::-1]) - 1
    mirror = np.diag([*signs, 1.0])
    mirror[:2, 2] = np.where(signs < 0, last, 0)
    return bool(np.isin(signs, (-1.0, 1.0)).all() and np.array_equal(matrix, mirror))


def _through(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def affine_matrix(
    shape: tuple[int, int],
    mirror: tuple[bool, bool] = (False, False),
    degrees: float = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    shear: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Return the matrix (3, 3) from output to input points (x, y) of a change about the frame's centre.

    Args:
        shape: (H, W).
        mirror: (across, down): left and right, top and bottom change places.
        degrees: turned counter-clockwise as seen on the screen.
        scale: (across, down); above 1 enlarges.
        shear: degrees.
        shift: (across, down) in pixels, to the right and down.
    """
    centre = (np.array(shape[::-1]) - 1) / 2
    turn, slant = np.deg2rad(degrees), np.tan(np.deg2rad(shear))
    forward = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) @ np.array([[1, slant], [0, 1]])
    forward = forward @ np.diag(np.array(scale) * np.where(mirror, -1.0, 1.0))
    matrix = np.eye(3)
    matrix[:2, :2] = np.linalg.inv(forward)
    matrix[:2, 2] = centre - matrix[:2, :2] @ (centre + np.array(shift))
    return matrix


def optical_bend(shape: tuple[int, int], strength: float) -> np.ndarray:
    """Return the bend of a barrel (above 0) or pincushion lens: points move by strength · r² of their way out.

    r is 1 at the middle of the longer side.
    """
    extent = (np.array(shape[::-1]) - 1) / 2
    y, x = np.meshgrid(np.linspace(-extent[1], extent[1], 17), np.linspace(-extent[0], extent[0], 17), indexing="ij")
    radius = (x**2 + y**2) / extent.max() ** 2
    return np.stack([x, y], -1) * (strength * radius)[..., None]


def grid_bend(shape: tuple[int, int], across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Return the bend of a grid whose columns and rows have grown by the given shares (0 leaves one as it is)."""
    moved = []
    for sizes, extent in ((across, shape[1] - 1), (down, shape[0] - 1)):
        ends = np.concatenate([[0.0], np.cumsum(1 + np.asarray(sizes))])
        moved.append(ends / ends[-1] * extent - np.linspace(0, extent, len(ends)))
    x, y = np.meshgrid(moved[0], moved[1])
    return np.stack([x, y], -1)


def piecewise_bend(shape: tuple[int, int], jitter: np.ndarray) -> np.ndarray:
    """Return the bend whose nodes (n, n, 2) are moved by shares of the frame, and that is linear between them."""
    return np.asarray(jitter) * (np.array(shape[::-1]) - 1)

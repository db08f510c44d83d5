"""What is odd about a mammogram, as flags that later steps and readers can act on. Free of torch.

A flag never changes a pixel. Limits were set on mammograms (DDSM and mini-MIAS films, phantoms) against breast
ultrasound and photographs; none of them was fitted to labels of quality, so read a flag as "have a look".
"""

from __future__ import annotations

import cv2
import numpy as np

from common.data.breast import Side, bounding_box, breast_mask, chest_wall_side, cut_shares, grown, shrunk

NOT_A_MAMMOGRAM = "not_a_mammogram"  # ultrasound, a photograph, a blank or an inverted frame
INVERTED = "inverted"
NO_BREAST = "no_breast"
CUT_OFF = "breast_cut_off"
LATERALITY = "laterality_disagreement"
IMPLANT = "implant"
NO_PECTORAL = "pectoral_not_found"

ROWS = 256
BLANK = 0.02  # range of a blurred frame that shows nothing
SPECKLE = 0.04  # of the median brightness: mammograms are smoother; half of it where both sides are cut off
FULL = 0.9  # of the frame: what covers more has no outline by which to tell it
CUT = 0.35  # of the breast's extent along the border away from the chest wall
EXPECTED_SIDE: dict[str, Side] = {"L": "left", "R": "right"}  # of the chest wall, hung back to back
IMPLANT_SHARE, IMPLANT_SOLIDITY, IMPLANT_CONTRAST, IMPLANT_SPREAD, IMPLANT_TOP = 0.15, 0.97, 1.33, 0.046, 0.1


def quality_flags(
    image: np.ndarray,
    laterality: str | None = None,
    implant: bool | None = None,
    breast: np.ndarray | None = None,
) -> list[str]:
    """Return the flags of a mammogram (H, W) in [0, 1], in the order of this file; an empty list where all is well.

    Args:
        image: (H, W) float in [0, 1].
        laterality: L or R as the tags say, to be held against the picture.
        implant: what BreastImplantPresent (0028,1300) says; None leaves it to the picture.
        breast: its mask (H, W), where it is known.

    Raises:
        ValueError: as `common.data.breast.breast_mask`.
    """
    small = shrunk(image, ROWS)
    mask = breast_mask(small) if breast is None else grown(breast, small.shape)
    if np.ptp(cv2.GaussianBlur(small, (0, 0), 1)) < BLANK:
        return [NOT_A_MAMMOGRAM, NO_BREAST]
    if not mask.any():
        return [NO_BREAST]
    if _is_inverted(small, mask):
        return [NOT_A_MAMMOGRAM, INVERTED]
    rough, cut = roughness(small, mask), min(cut_shares(mask)) > CUT
    if mask.mean() > FULL or rough > (SPECKLE / 2 if cut else SPECKLE) or chest_wall_side(mask) is None:
        return [NOT_A_MAMMOGRAM]
    found = {
        CUT_OFF: cut,
        LATERALITY: laterality in EXPECTED_SIDE and EXPECTED_SIDE[laterality] != chest_wall_side(mask),
        IMPLANT: _shows_implant(small, mask) if implant is None else implant,
    }
    return [flag for flag, there in found.items() if there]


def roughness(image: np.ndarray, mask: np.ndarray) -> float:
    """Return the mean detail finer than about two pixels within a mask, over the median brightness there."""
    inside = cv2.erode(mask.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)
    if not inside.any():
        return 0.0
    detail = np.abs(image - cv2.GaussianBlur(image, (0, 0), 1))[inside].mean()
    return float(detail / max(np.median(image[mask]), 0.05))


def _is_inverted(image: np.ndarray, mask: np.ndarray) -> bool:
    """Tell whether the frame looks like a mammogram only once its brightness is turned round."""
    return _looks_whole(1 - image, breast_mask(1 - image)) and not _looks_whole(image, mask)


def _looks_whole(image: np.ndarray, mask: np.ndarray) -> bool:
    """Tell whether a mask is that of a breast with its chest wall on one side and darkness on the other."""
    side = chest_wall_side(mask)
    if side is None or not 0.05 < mask.mean() < FULL or min(cut_shares(mask)) > CUT:
        return False
    border = image[:, -4:] if side == "left" else image[:, :4]
    return float(np.median(border)) < 0.3 < float(np.median(image[mask]))


def _shows_implant(image: np.ndarray, mask: np.ndarray) -> bool:
    """Tell an unmistakable implant: large, round, evenly bright, sharply bounded, and not the muscle at the top."""
    box = bounding_box(mask)
    assert box is not None
    smooth = cv2.GaussianBlur(image, (0, 0), 1)
    bright = (smooth > 0.8 * np.percentile(smooth[mask], 99)) & mask
    round_brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (13, 13))
    pieces = cv2.morphologyEx(bright.astype(np.uint8), cv2.MORPH_OPEN, round_brush)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(pieces)
    if count < 2:
        return False
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    piece = labels == largest
    core = cv2.erode(piece.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
    outline = max(cv2.findContours(piece.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], key=len)
    around = cv2.dilate(piece.astype(np.uint8), np.ones((13, 13), np.uint8)).astype(bool) & mask & ~piece
    top = (stats[largest, cv2.CC_STAT_TOP] - box[0]) / (box[1] - box[0])
    return bool(
        piece.sum() > IMPLANT_SHARE * mask.sum()
        and piece.sum() > IMPLANT_SOLIDITY * cv2.contourArea(cv2.convexHull(outline))
        and np.median(smooth[piece]) > IMPLANT_CONTRAST * np.median(smooth[around])
        and smooth[core].std() < IMPLANT_SPREAD * smooth[core].mean()
        and top > IMPLANT_TOP
    )

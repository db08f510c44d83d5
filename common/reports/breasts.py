"""A page of mammograms as preprocessing sees them: source, breast, pectoral muscle, crop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from common.data.breast import bounding_box, breast_mask, chest_wall_side
from common.data.pectoral import Pectoral, find_pectoral
from common.data.quality import NO_PECTORAL, quality_flags
from common.reports.figures import overlay, stretch

STEPS = ("source", "breast", "pectoral", "crop")
ACROSS = 2  # images side by side


@dataclass(frozen=True)
class Findings:
    """What is found in one mammogram; masks are (H, W)."""

    name: str
    image: np.ndarray
    view: str | None
    laterality: str | None
    breast: np.ndarray
    pectoral: Pectoral
    flags: list[str]

    def row(self) -> dict[str, object]:
        """Return the findings as a row of a table."""
        box = bounding_box(self.breast)
        return {
            "image": self.name,
            "view": self.view,
            "laterality": self.laterality,
            "chest_wall": chest_wall_side(self.breast),
            "breast_share": round(float(self.breast.mean()), 4),
            **dict(zip(("top", "bottom", "left", "right"), box or (None,) * 4, strict=True)),
            "pectoral": self.pectoral.reason or "found",
            "pectoral_angle": round(self.pectoral.angle, 1),
            "quality_flags": ";".join(self.flags),
        }


def find(
    name: str, image: np.ndarray, view: str | None, laterality: str | None, implant: bool | None = None
) -> Findings:
    """Look for breast, pectoral muscle and quality flags in a mammogram (H, W) in [0, 1]."""
    breast = breast_mask(image)
    pectoral = find_pectoral(image, view, laterality, breast)
    flags = quality_flags(image, laterality, implant, breast)
    missing = [NO_PECTORAL] if view == "MLO" and pectoral.mask is None else []
    return Findings(name, image, view, laterality, breast, pectoral, flags + missing)


def breast_page(findings: Sequence[Findings]) -> Figure:
    """Draw a page: for each image its source, the breast's outline, the muscle's, and the crop without the muscle."""
    rows = -(-len(findings) // ACROSS)
    figure = Figure(figsize=(1.5 * len(STEPS) * ACROSS, 2.3 * rows), layout="constrained")
    axes = np.atleast_2d(figure.subplots(rows, len(STEPS) * ACROSS))
    for axis in axes.ravel():
        axis.axis("off")
    for number, found in enumerate(findings):
        first = number % ACROSS * len(STEPS)
        _draw(axes[number // ACROSS, first : first + len(STEPS)], found)
    return figure


def _draw(axes: np.ndarray, found: Findings) -> None:
    shown = stretch(found.image)
    muscle = found.pectoral.mask
    crop = np.where(muscle, 0, shown) if muscle is not None else shown
    top, bottom, left, right = bounding_box(found.breast) or (0, *shown.shape[:1], 0, *shown.shape[1:])
    pictures = (shown, overlay(shown, found.breast), overlay(shown, found.breast & False if muscle is None else muscle))
    for axis, title, picture in zip(axes, STEPS, (*pictures, crop[top:bottom, left:right]), strict=True):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axis.set_title(title, fontsize=6, pad=2)
    axes[0].set_title(f"{found.name[-22:]}\n{found.view or 'view?'} {found.laterality or ''}", fontsize=6, pad=2)
    if found.pectoral.reason:
        axes[2].set_title("no pectoral", fontsize=6, pad=2)
    if found.flags:
        axes[3].set_title("\n".join(found.flags), fontsize=6, pad=2, color="darkorange")

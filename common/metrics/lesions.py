"""Figures of detected lesions as a MONAI metric, gathered over batches and processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric

from common.metrics.detection import RATES, Criterion, coco_average_precision, counts_per_image, match, sensitivity_at
from common.metrics.segmentation import dice_per_lesion

SENSITIVITY = {f"sensitivity_at_{rate:g}": rate for rate in RATES}
AVERAGE_PRECISION = {
    f"{kind}_{part}": (overlap, part)
    for kind, overlap in (("box", "bbox"), ("mask", "segm"))
    for part in ("ap", "ap50", "ap75")
}
LESION_FIGURES = (*SENSITIVITY, *AVERAGE_PRECISION, "lesion_dice")
Image = dict[str, np.ndarray]


class LesionFigure(CumulativeIterationMetric):
    """One figure of detections against lesions, over all images.

    Takes lists with a dictionary per image: ``boxes`` (N, 4) as (x1, y1, x2, y2), ``labels`` (N,), ``masks``
    (N, H, W) for the figures of masks, and for detections ``scores`` (N,).

    Args:
        figure: "sensitivity_at_<rate>" with .125, .25, .5, 1, 2 or 4 false positives an image (FROC);
            "box_ap", "mask_ap" and the same with 50 and 75 (COCO's); "lesion_dice" (missed lesions count 0).
        criterion, least: when a box finds a lesion (`common.metrics.detection.match`).
        score_threshold: of the detections that count for "lesion_dice".

    Raises:
        ValueError: an unknown figure.

    What is undefined is NaN.
    """

    def __init__(
        self, figure: str, criterion: Criterion = "iou", least: float = 0.2, score_threshold: float = 0.5
    ) -> None:
        if figure not in LESION_FIGURES:
            raise ValueError(f"Unknown figure '{figure}': choose one of {list(LESION_FIGURES)}.")
        super().__init__()
        self.figure, self.criterion, self.least, self.score_threshold = figure, criterion, least, score_threshold
        self.images: list[tuple[Image, Image]] = []

    def _compute_tensor(self, y_pred: Any, y: Any = None, **_: Any) -> None:  # type: ignore[override]
        """Unused: images are kept whole, since their numbers of boxes differ."""

    def reset(self) -> None:
        super().reset()
        self.images = []

    def __call__(self, y_pred: Sequence[Mapping[str, Any]], y: Sequence[Mapping[str, Any]], **_: Any) -> None:  # type: ignore[override]
        self.images += [(_arrays(found), _arrays(there)) for found, there in zip(y_pred, y, strict=True)]

    def aggregate(self) -> float:
        """Return the figure of everything so far."""
        images = self._gathered()
        if self.figure in AVERAGE_PRECISION:
            overlap, part = AVERAGE_PRECISION[self.figure]
            sizes = [{"size": _size(there)} for _, there in images]
            truths = [{**there, **size} for (_, there), size in zip(images, sizes, strict=True)]
            return coco_average_precision(truths, [found for found, _ in images], overlap)[part]  # type: ignore[arg-type]
        if self.figure == "lesion_dice":
            values = np.concatenate([self._dice(*image) for image in images] or [np.zeros(0)])
            return float(values.mean()) if len(values) else float("nan")
        return self._sensitivity(images, SENSITIVITY[self.figure])

    def _match(self, found: Image, there: Image) -> np.ndarray:
        return match(found["boxes"], found["scores"], there["boxes"], self.criterion, self.least)

    def _dice(self, found: Image, there: Image) -> np.ndarray:
        kept = found["scores"] >= self.score_threshold
        shown = {name: values[kept] for name, values in found.items()}
        return dice_per_lesion(shown["masks"] > 0.5, there["masks"] > 0.5, self._match(shown, there))

    def _sensitivity(self, images: Sequence[tuple[Image, Image]], rate: float) -> float:
        scores = [found["scores"] for found, _ in images]
        grid = np.unique(np.concatenate([*scores, [np.inf]]))
        found, false = counts_per_image(scores, [self._match(*image) for image in images], grid)
        return float(sensitivity_at(rate, found, false, [len(there["boxes"]) for _, there in images])[0])

    def _gathered(self) -> list[tuple[Image, Image]]:
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return self.images
        parts: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, self.images)
        return [image for part in parts for image in part]


def _arrays(image: Mapping[str, Any]) -> Image:
    arrays = {name: torch.as_tensor(values).detach().cpu().numpy() for name, values in image.items()}
    return {**arrays, "boxes": arrays["boxes"].reshape(-1, 4)}


def _size(there: Image) -> tuple[int, int]:
    """Return (H, W) of an image: that of its masks, or what holds its boxes."""
    if "masks" in there:
        return there["masks"].shape[1], there["masks"].shape[2]
    corner = np.ceil(there["boxes"][:, 2:].max(0)) if len(there["boxes"]) else np.ones(2)
    return int(corner[1]), int(corner[0])

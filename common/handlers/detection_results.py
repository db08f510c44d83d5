"""Write what a detector finds in each image of a folder, on the image's own pixels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.transforms import Compose

from common.data.files import write_json
from common.data.mammogram import read_mammogram
from common.handlers.results import FolderResults, save_picture
from common.metrics.two_class import THRESHOLD
from common.transforms.boxes import boxes_to_source

COUNTED, OTHERS = (255, 140, 0), (120, 160, 255)  # colours of detections from the threshold on, and below it


class SaveDetections(FolderResults):
    """Write ``detections.json``, ``predictions.csv``, ``masks/<image>.png`` and ``overlays/<image>.png``.

    A detection has its ``box`` (x1, y1, x2, y2), ``outline`` ((x, y) of its largest part), ``area_px``, ``class``,
    ``score``, and ``counts``: whether it reaches the operating point. A mask holds the number of each detection that
    counts, from 1, the surest one on top. The table has each image's highest score, and how many detections count.

    Args:
        output_dir: where to write.
        classes: names, in the order of the labels from 1.
        operating_point: with ``score_threshold``.
        preprocessing: the deterministic steps that the images went through.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        classes: Sequence[str],
        operating_point: Mapping[str, Any],
        preprocessing: Compose,
    ) -> None:
        super().__init__(output_dir)
        self.classes, self.preprocessing = list(classes), preprocessing
        self.threshold = float(operating_point["score_threshold"])
        self.found: dict[str, list[dict[str, Any]]] = {}

    def save(self, engine: Engine) -> None:
        for item, pred in zip(engine.state.batch, engine.state.output["pred"], strict=True):
            if item["reason"]:
                self.rejected.append({"image": item["name"], "reason": item["reason"]})
            else:
                self._save_one(item, {key: value.cpu() for key, value in pred.items()})

    def _save_one(self, item: Mapping[str, Any], pred: Mapping[str, torch.Tensor]) -> None:
        name, image = item["name"], item["image"]
        picture, _ = read_mammogram(image.meta["filename_or_obj"])
        masks = (self._on_source(mask, image, picture.shape) for mask in pred["masks"])
        boxes = boxes_to_source(pred["boxes"].double(), image).numpy()
        shown, numbers = (
            np.repeat(np.round(picture * 255).astype(np.uint8)[..., None], 3, 2),
            np.zeros(picture.shape, np.uint8),
        )
        found = []
        for n, (box, mask) in enumerate(zip(boxes, masks, strict=True)):
            one = self._described(pred, n, box, mask)
            found.append(one)
            _draw(shown, one)
            if one["counts"]:
                numbers[mask & (numbers == 0)] = n + 1
        self.found[name] = found
        scores = [one["score"] for one in found]
        self.rows.append(
            {
                "image": name,
                "highest_score": max(scores, default=0.0),
                THRESHOLD: self.threshold,
                "detections": sum(one["counts"] for one in found),
                "remarks": image.meta.get("quality_flags", ""),
            }
        )
        place = Path(name).with_suffix(".png")
        save_picture(self.folder / "masks" / place, numbers)
        save_picture(self.folder / "overlays" / place, shown)

    def _on_source(self, mask: torch.Tensor, image: MetaTensor, shape: tuple[int, ...]) -> np.ndarray:
        """Return a mask bool (H, W) on the source's pixels, from one (h, w) on those that the network saw."""
        there = MetaTensor(mask[None].float(), meta=dict(image.meta), applied_operations=list(image.applied_operations))
        back = np.ascontiguousarray(self.preprocessing.inverse({"image": there})["image"][0].numpy())
        return cv2.resize(back, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR) >= 0.5

    def _described(self, pred: Mapping[str, torch.Tensor], n: int, box: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
        score = float(pred["scores"][n])
        parts, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        largest = max(parts, key=cv2.contourArea, default=np.zeros((0, 1, 2), np.int32))
        outline = cv2.approxPolyDP(largest, 1.0, True)[:, 0].tolist() if len(largest) else []
        return {
            "box": [round(float(value), 1) for value in box],
            "score": score,
            "class": self.classes[int(pred["labels"][n]) - 1],
            "counts": score >= self.threshold,
            "area_px": int(mask.sum()),
            "outline": outline,
        }

    def write(self, table: pd.DataFrame) -> None:
        super().write(table)
        write_json(self.folder / "detections.json", {"score_threshold": self.threshold, "images": self.found})


def _draw(shown: np.ndarray, found: Mapping[str, Any]) -> None:
    """Draw a detection's box, outline and score into an RGB picture (H, W, 3)."""
    colour, width = COUNTED if found["counts"] else OTHERS, max(1, round(max(shown.shape) / 800))
    x1, y1, x2, y2 = (round(value) for value in found["box"])
    cv2.rectangle(shown, (x1, y1), (x2, y2), colour, width)
    if found["outline"]:
        cv2.polylines(shown, [np.array(found["outline"], np.int32)], True, colour, width)
    text = f"{found['class']} {found['score']:.2f}"
    cv2.putText(shown, text, (x1, max(12 * width, y1 - 4)), cv2.FONT_HERSHEY_SIMPLEX, 0.5 * width, colour, width)

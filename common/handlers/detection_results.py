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

from common.data.dicom.findings import Finding
from common.data.files import write_json
from common.data.mammogram import read_mammogram
from common.handlers.dicom_reports import DicomReports
from common.handlers.results import FolderResults, outline, save_picture
from common.metrics.two_class import THRESHOLD
from common.networks.regions import RegionClassifier
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
        second: a second stage that says more of each region (`common.networks.regions.RegionClassifier`).
        reports: says the same in DICOM.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        classes: Sequence[str],
        operating_point: Mapping[str, Any],
        preprocessing: Compose,
        second: RegionClassifier | None = None,
        reports: DicomReports | None = None,
    ) -> None:
        super().__init__(output_dir, reports)
        self.classes, self.preprocessing, self.second = list(classes), preprocessing, second
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
        boxes = boxes_to_source(pred["boxes"].double(), image).numpy()
        masks = [self._on_source(mask, image, picture.shape) for mask in pred["masks"]]
        found = [self._described(pred, n, box, mask) for n, (box, mask) in enumerate(zip(boxes, masks, strict=True))]
        if self.second is not None:
            regions = [mask if mask.any() else _filled(box, mask.shape) for box, mask in zip(boxes, masks, strict=True)]
            found = [one | more for one, more in zip(found, self.second(picture, regions), strict=True)]
        self.found[name] = found
        self.rows.append({"image": name, **self._summary(found), "remarks": image.meta.get("quality_flags", "")})
        place = Path(name).with_suffix(".png")
        save_picture(self.folder / "masks" / place, _numbered(found, masks, picture.shape))
        save_picture(self.folder / "overlays" / place, _drawn(picture, found))
        self.report([name], [image.meta["filename_or_obj"]], self._findings(found, masks))

    def _findings(self, found: Sequence[Mapping[str, Any]], masks: Sequence[np.ndarray]) -> list[Finding]:
        """Return the detections that count, and behind each how likely it is malignant, where that was asked."""
        result = []
        for one, mask in zip(found, masks, strict=True):
            if one["counts"]:
                result.append(Finding(one["class"], one["score"], self.threshold, one["outline"], mask))
                if "malignancy" in one:
                    result.append(Finding("malignant", one["malignancy"], outline=one["outline"]))
        return result

    def _summary(self, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return what the table says of an image."""
        counted = [one for one in found if one["counts"]]
        row = {"highest_score": max((one["score"] for one in found), default=0.0), THRESHOLD: self.threshold}
        row["detections"] = len(counted)
        if self.second is not None:
            row["highest_malignancy"] = max((one["malignancy"] for one in counted), default=0.0)
        return row

    def _on_source(self, mask: torch.Tensor, image: MetaTensor, shape: tuple[int, ...]) -> np.ndarray:
        """Return a mask bool (H, W) on the source's pixels, from one (h, w) on those that the network saw."""
        there = MetaTensor(mask[None].float(), meta=dict(image.meta), applied_operations=list(image.applied_operations))
        back = np.ascontiguousarray(self.preprocessing.inverse({"image": there})["image"][0].numpy())
        return cv2.resize(back, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR) >= 0.5

    def _described(self, pred: Mapping[str, torch.Tensor], n: int, box: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
        score = float(pred["scores"][n])
        return {
            "box": [round(float(value), 1) for value in box],
            "score": score,
            "class": self.classes[int(pred["labels"][n]) - 1],
            "counts": score >= self.threshold,
            "area_px": int(mask.sum()),
            "outline": outline(mask),
        }

    def write(self, table: pd.DataFrame) -> None:
        super().write(table)
        write_json(self.folder / "detections.json", {"score_threshold": self.threshold, "images": self.found})


def _filled(box: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a box as a mask of at least one pixel, bool (H, W)."""
    mask = np.zeros(shape, bool)
    x1, y1 = (int(np.clip(np.floor(v), 0, side - 1)) for v, side in zip(box[:2], shape[::-1], strict=True))
    mask[y1 : max(y1 + 1, int(np.ceil(box[3]))), x1 : max(x1 + 1, int(np.ceil(box[2])))] = True
    return mask


def _numbered(found: Sequence[Mapping[str, Any]], masks: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Return the number of the detection that counts at each pixel, from 1; 0 is none; uint8 (H, W)."""
    numbers = np.zeros(shape, np.uint8)
    for n, (one, mask) in enumerate(zip(found, masks, strict=True), 1):
        if one["counts"]:
            numbers[mask & (numbers == 0)] = n
    return numbers


def _drawn(picture: np.ndarray, found: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return a picture (H, W) in [0, 1] as uint8 RGB with each detection's box and outline, and the words of those that
    count."""
    shown = np.repeat(np.round(picture * 255).astype(np.uint8)[..., None], 3, 2)
    width = max(1, round(max(picture.shape) / 800))
    for one in found:
        colour = COUNTED if one["counts"] else OTHERS
        x1, y1, x2, y2 = (round(value) for value in one["box"])
        cv2.rectangle(shown, (x1, y1), (x2, y2), colour, width)
        if one["outline"]:
            cv2.polylines(shown, [np.array(one["outline"], np.int32)], True, colour, width)
        if one["counts"]:
            _write_words(shown, one, (x1, y1), width)
    return shown


def _write_words(shown: np.ndarray, one: Mapping[str, Any], corner: tuple[int, int], width: int) -> None:
    """Write class and score above a box, within the picture."""
    text = f"{one['class']} {one['score']:.2f}"
    text += f", malignant {one['malignancy']:.2f}" if "malignancy" in one else ""
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.4 * width
    (wide, high), _ = cv2.getTextSize(text, font, scale, width)
    place = max(0, min(corner[0], shown.shape[1] - wide)), max(high + 1, corner[1] - 3)
    cv2.putText(shown, text, place, font, scale, COUNTED, width, cv2.LINE_AA)

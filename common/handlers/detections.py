"""Collect an evaluator's detections: tables of lesions and detections, FROC, average precision and Dice."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from ignite.engine import Engine
from ignite.metrics import Metric
from matplotlib.figure import Figure

from common.data.files import write_csv
from common.data.flags import flag
from common.metrics.blobs import bright_blobs
from common.metrics.bootstrap import Estimate, estimates
from common.metrics.detection import RATES, Criterion, coco_average_precision, encoded, match
from common.metrics.lesion_points import choose_score_threshold, statistics_at
from common.metrics.lesion_tables import BOX, Counted, count, score, statistics
from common.metrics.segmentation import dice_per_lesion
from common.metrics.two_class import POSITIVE, PROBABILITY, THRESHOLD
from common.reports.detection import froc_curves

FACTS = ("patient_id", "group_id", "laterality", "view", "split", "fold")
Arrays = dict[str, np.ndarray]


class DetectionTable(Metric):
    """Key metric of an evaluator, and the tables behind it.

    The key metric is the sensitivity, averaged over .125 to 4 false positives an image (FROC). Expects items with
    ``name`` and ``target``, and as ``pred`` a dictionary per image with ``boxes``, ``labels``, ``scores`` and
    ``masks`` bool (N, H, W), all on the pixels of the image as the network saw it.

    Args:
        classes: names, in the order of the labels from 1.
        operating_point: with ``score_threshold``; none while training.
        false_positives: an image, that `choose` chooses the score for.
        criterion, least: when a box finds a lesion (`common.metrics.detection.match`).
        resamples: of the intervals.
        blobs: also score a detector without learning (`common.metrics.blobs`), and draw it into the FROC figure.
    """

    def __init__(
        self,
        classes: Sequence[str],
        operating_point: Mapping[str, Any] | None = None,
        false_positives: float = 0.5,
        criterion: Criterion = "iou",
        least: float = 0.2,
        resamples: int = 2000,
        blobs: bool = False,
    ) -> None:
        self.classes, self.point, self.blobs = list(classes), operating_point, flag(blobs)
        self.allowed, self.criterion, self.least, self.resamples = false_positives, criterion, least, resamples
        super().__init__(device="cpu")

    def reset(self) -> None:
        self.images: list[dict[str, Any]] = []

    def update(self, output: Any) -> None:
        """Unused: an image's facts stand in the batch, which `iteration_completed` takes from the engine."""

    def iteration_completed(self, engine: Engine, *_: Any) -> None:
        for item, pred in zip(engine.state.batch, engine.state.output["pred"], strict=True):
            facts = {key: item[key] for key in FACTS if item.get(key) is not None}
            image = {"image": item["name"], **facts, **self._one(_arrays(pred), _arrays(item["target"]))}
            self.images.append(image | ({"blobs": _blobs(item["image"])} if self.blobs else {}))

    def _one(self, found: Arrays, there: Arrays) -> dict[str, Any]:
        """Return what is kept of an image: boxes, scores, masks as run lengths, and the Dice of the lesions found."""
        lesion = match(found["boxes"], found["scores"], there["boxes"], self.criterion, self.least)
        per_lesion = dice_per_lesion(found["masks"] > 0, there["masks"] > 0, lesion)
        dice = np.array([per_lesion[n] if n >= 0 else np.nan for n in lesion])
        return {"truth": _kept(there), "found": {**_kept(found), "dice": dice}}

    def compute(self) -> float:
        self._gather()
        self.lesions, self.detections = self._table("truth"), self._table("found")
        self.group = next((key for key in ("patient_id", "group_id") if key in self.lesions), "image")
        self.counted = self._count(self.detections)
        ones = np.ones((1, len(self.counted.images)))
        found = statistics(self.counted)
        return float(np.mean([found[f"sensitivity_at_{rate:g}"](ones)[0] for rate in RATES]))

    def completed(self, engine: Engine, name: str) -> None:
        engine.state.metrics[name] = self.compute()
        ones = np.ones((1, len(self.counted.images)))
        found = {**statistics(self.counted), **statistics_at(self.counted, self.detections, 0.5)}
        chosen = ("sensitivity_at_1", "lesion_dice", "false_positives")
        engine.state.metrics |= {key: float(found[key](ones)[0]) for key in chosen}

    def _count(self, detections: pd.DataFrame) -> Counted:
        return count(self.lesions, detections, self.group, self.criterion, self.least)

    def _gather(self) -> None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            parts: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(parts, self.images)
            self.images = [image for part in parts for image in part]
        self.images = sorted({image["image"]: image for image in self.images}.values(), key=lambda one: one["image"])

    def _table(self, part: str) -> pd.DataFrame:
        """Return a row for each lesion ("truth", an empty one for an image without) or detection ("found", "blobs")."""
        more = {"found": {"scores": "score", "dice": "dice"}, "blobs": {"scores": "score"}}.get(part, {})
        tables = [pd.DataFrame(columns=["image", *BOX, "label", *more.values()])]
        for image in self.images:
            values = image[part]
            table = pd.DataFrame(values["boxes"], columns=BOX).astype(float)
            table["label"] = [self.classes[int(label) - 1] for label in values["labels"]]
            table = table.assign(**{column: values[key].astype(float) for key, column in more.items()})
            if part == "truth" and table.empty:
                table = pd.DataFrame([{**dict.fromkeys(BOX, np.nan), "label": ""}])
            tables.append(table.assign(**_facts(image)))
        return pd.concat([table for table in tables if len(table)] or tables, ignore_index=True)

    def choose(self) -> dict[str, Any]:
        """Return the operating point that these detections suggest: for data they do not hold."""
        threshold = choose_score_threshold(self.counted, self.allowed)
        wish = f"at most {self.allowed:g} false positives an image"
        self.point = {"score_threshold": threshold, "wish": wish, "n": len(self.images)}
        return dict(self.point)

    @property
    def threshold(self) -> float:
        return float((self.point or {}).get("score_threshold", 0.5))

    @property
    def scores(self) -> dict[str, Estimate]:
        """All figures with their intervals over patients; average precision without one."""
        at_point = statistics_at(self.counted, self.detections, self.threshold)
        found = score(self.counted, self.resamples) | estimates(at_point, self.counted.groups, self.resamples)
        number, groups = len(self.images), len(set(self.counted.groups))
        truth, guesses = ([image[part] for image in self.images] for part in ("truth", "found"))
        if self.blobs:
            rival = score(self._count(self._table("blobs")), self.resamples)
            found |= {f"blobs_{name}": rival[name] for name in ("sensitivity_at_1", "sensitivity_at_4")}
        for name, kind in (("box", "bbox"), ("mask", "segm")):
            values = coco_average_precision(truth, guesses, kind)  # type: ignore[arg-type]
            for part, value in values.items():
                found[f"{name}_{part}"] = Estimate(value, float("nan"), float("nan"), number, groups)
        return found

    def figures(self) -> dict[str, Figure]:
        """Return the figures of a report, by name."""
        rivals = {"blob detector": self._count(self._table("blobs"))} if self.blobs else {}
        return {"froc": froc_curves({"network": self.counted, **rivals})}

    @property
    def predictions(self) -> pd.DataFrame:
        """A row per image: its highest score, how many detections count, and whether it has a lesion."""
        rows = []
        for image in self.images:
            scores = image["found"]["scores"]
            row = {**_facts(image), POSITIVE: bool(len(image["truth"]["boxes"])), PROBABILITY: scores.max(initial=0.0)}
            rows.append({**row, THRESHOLD: self.threshold, "detections": int((scores >= self.threshold).sum())})
        return pd.DataFrame(rows)

    def write(self, output_dir: str | os.PathLike) -> None:
        """Write ``predictions.csv`` (images), ``lesions.csv`` and ``detections.csv``."""
        folder = Path(output_dir)
        for name in ("predictions", "lesions", "detections"):
            write_csv(folder / f"{name}.csv", getattr(self, name))


def _facts(image: Mapping[str, Any]) -> dict[str, Any]:
    return {key: image[key] for key in ("image", *FACTS) if key in image}


def _blobs(image: torch.Tensor) -> Arrays:
    boxes, scores = bright_blobs(image[0].cpu().numpy())
    return {"boxes": boxes, "scores": scores, "labels": np.ones(len(boxes), int)}


def _kept(image: Arrays) -> dict[str, Any]:
    """Return an image's arrays with its masks as run lengths, which take little room."""
    rest = {key: values for key, values in image.items() if key != "masks"}
    return {**rest, "size": image["masks"].shape[1:], "segments": encoded(image["masks"])}


def _arrays(values: Mapping[str, torch.Tensor]) -> Arrays:
    arrays = {key: torch.as_tensor(value).detach().cpu().numpy() for key, value in values.items()}
    return {**arrays, "boxes": arrays["boxes"].reshape(-1, 4)}

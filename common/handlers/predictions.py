"""Collect an evaluator's predictions into the tables that every figure and metric is computed from."""

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
from monai.transforms import Resize

from common.data.files import write_csv
from common.metrics.decisions import OperatingPoint, mask_threshold
from common.metrics.segmentation import THRESHOLDS, mask_areas
from common.metrics.tables import apply_operating_point, choose_operating_point, has_classes, score
from common.reports import figures

PICTURE = 160  # pixels, of what is kept for the page of overlays
IDENTITY = ("group_id", "patient_id", "duplicate_group", "split", "fold")


class PredictionTable(Metric):
    """Key metric of an evaluator, and the tables behind it.

    The key metric is the mean of lesion Dice and balanced accuracy, as far as the network gives them. All
    metrics of `common.metrics.tables.score` go into ``engine.state.metrics`` as well. With several processes
    the rows of all are gathered, so that each computes what one process would.

    Expects items with ``image, label, group_id, true_mask`` and, in the output, ``class_probability`` (C,),
    ``raw_class_probability`` (C,) where they were calibrated, and
    ``mask_probability`` (1, H, W) at the size of ``true_mask`` (1, H, W).

    Args:
        classes: class names in the order of the probabilities.
        operating_point: to apply (`common.metrics.decisions`); none while training.
        pictures: how many images, spread over the data, to keep for a page of overlays.
    """

    def __init__(
        self, classes: Sequence[str], operating_point: OperatingPoint | None = None, pictures: int = 24
    ) -> None:
        self.classes = list(classes)
        self.point = operating_point
        self.number_of_pictures = pictures
        super().__init__(device="cpu")

    def reset(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.area_rows: list[dict[str, Any]] = []
        self.pictures: list[dict[str, Any]] = []

    def update(self, output: Any) -> None:
        """Unused: rows need the batch too, which `iteration_completed` takes from the engine."""

    def iteration_completed(self, engine: Engine, *_: Any) -> None:
        every = max(1, len(engine.data_loader.dataset) // self.number_of_pictures)
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            self._add(item, output, picture=len(self.rows) % every == 0)

    def _add(self, item: Mapping[str, Any], output: Mapping[str, Any], picture: bool) -> None:
        name = str(item["image"].meta["filename_or_obj"])
        row = {"image": _short(name), **{k: item[k] for k in IDENTITY if k in item}}
        row["label"] = self.classes[int(item["label"])]
        if "class_probability" in output:
            row |= self._columns("p", output["class_probability"])
        if "raw_class_probability" in output:
            row |= self._columns("raw", output["raw_class_probability"])
        if "mask_probability" in output:
            self._add_areas(row["image"], item, output, picture)
        self.rows.append({k: _plain(v) for k, v in row.items()})

    def _columns(self, prefix: str, values: torch.Tensor) -> dict[str, float]:
        return {f"{prefix}_{c}": float(v) for c, v in zip(self.classes, values.cpu(), strict=True)}

    def _add_areas(self, name: str, item: Mapping[str, Any], output: Mapping[str, Any], picture: bool) -> None:
        probability = output["mask_probability"][0].cpu().numpy()
        truth = np.asarray(item["true_mask"][0]) > 0.5
        true, predicted, overlap = mask_areas(probability, truth)
        self.area_rows += [
            {"image": name, "threshold": t, "true_px": true, "predicted_px": int(p), "overlap_px": int(o)}
            for t, p, o in zip(THRESHOLDS, predicted, overlap, strict=True)
        ]
        if picture and len(self.pictures) < self.number_of_pictures:
            self.pictures.append(_picture(name, item["image"], truth, probability))

    def compute(self) -> float:
        self._gather()
        predictions = pd.DataFrame(self.rows).drop_duplicates("image").sort_values("image")
        self.predictions = predictions.reset_index(drop=True)
        self.areas: pd.DataFrame | None = None
        if self.area_rows:
            areas = pd.DataFrame(self.area_rows).drop_duplicates(["image", "threshold"])
            self.areas = areas.sort_values(["image", "threshold"]).reset_index(drop=True)
        self._decide()
        parts = [self.scores[name].value for name in ("dice", "balanced_accuracy") if name in self.scores]
        return float(np.nanmean(parts)) if parts else float("nan")

    def completed(self, engine: Engine, name: str) -> None:
        engine.state.metrics[name] = self.compute()
        engine.state.metrics |= {metric: found.value for metric, found in self.scores.items()}

    def _gather(self) -> None:
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return
        parts: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(parts, (self.rows, self.area_rows))
        self.rows = [row for part in parts for row in part[0]]
        self.area_rows = [row for part in parts for row in part[1]]

    def choose(self) -> dict[str, Any]:
        """Return the operating point that these predictions suggest: for data they do not hold."""
        self.point = choose_operating_point(self.predictions, self.areas, self.classes)
        self._decide()
        return {**self.point, "n": len(self.predictions)}

    def _decide(self) -> None:
        self.predictions = apply_operating_point(self.predictions, self.areas, self.classes, self.point)
        self.scores = score(self.predictions, self.classes)

    @property
    def threshold(self) -> float:
        """The probability from which a pixel is lesion."""
        return mask_threshold(self.point)

    def figures(self) -> dict[str, figures.Figure]:
        """Return the figures that the tables allow, by name."""
        drawn = {}
        if has_classes(self.predictions):
            drawn["roc_curves"] = figures.roc_curves(self.predictions, self.classes)
            drawn["confusion"] = figures.confusion(self.predictions, self.classes)
        if self.areas is not None:
            drawn["threshold_curve"] = figures.threshold_curve(self.areas, self.threshold)
            drawn["overlays"] = figures.overlay_page(self.pictures, self.predictions, self.threshold)
        return drawn

    def write(self, output_dir: str | os.PathLike) -> None:
        """Write ``predictions.csv`` and, where there are masks, ``mask_areas.csv``."""
        write_csv(Path(output_dir) / "predictions.csv", self.predictions)
        if self.areas is not None:
            write_csv(Path(output_dir) / "mask_areas.csv", self.areas)


def _short(name: str) -> str:
    path = Path(name)
    return f"{path.parent.name}/{path.name}"


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, torch.Tensor | np.generic) else value


def _picture(name: str, image: torch.Tensor, truth: np.ndarray, probability: np.ndarray) -> dict[str, Any]:
    """Return small copies (PICTURE, PICTURE) of the network's input, the true mask and the probability."""
    small = Resize((PICTURE, PICTURE), mode="area")
    kept = {"truth": truth[None].astype(np.float32), "probability": probability[None]}
    return {
        "name": name,
        "image": small(torch.as_tensor(np.asarray(image[:1]))).numpy()[0],
        **{key: small(torch.as_tensor(value)).numpy()[0] for key, value in kept.items()},
    }

"""Write what a classifier says of each image, breast and patient of a folder, and where it looked."""

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
from matplotlib import colormaps

from common.data.dicom.findings import Finding
from common.data.files import write_csv
from common.data.flags import flag
from common.data.heads import heads_of
from common.data.mammogram import read_mammogram
from common.handlers.breast_predictions import head_columns
from common.handlers.dicom_reports import DicomReports
from common.handlers.results import FolderResults, save_picture
from common.metrics.aggregation import LEVELS, aggregate
from common.metrics.tables import apply_operating_point
from common.metrics.two_class import POSITIVE, PROBABILITY, THRESHOLD
from common.metrics.two_class_points import TwoClassPoint, apply_point
from common.networks.saliency import grad_cam
from common.transforms.views import EachViewd

DECISION = "called"


class SaveBreastResults(FolderResults):
    """Write ``predictions.csv`` (images, or breasts where views are joined), ``breasts.csv``, ``patients.csv`` and
    ``overlays/<image>.png``.

    Each row has the calibrated probability and the decision at the operating point, which counts for breasts where it
    was chosen on them. A view that training did not see is remarked on.

    Args:
        output_dir: where to write.
        network: of the evaluator.
        heads: see `common.data.heads`.
        operating_point: see `common.metrics.two_class_points`.
        views: the deterministic step that the images went through, with traces.
        prevalence: to carry the probabilities to.
        saliency: false leaves out the overlays.
        reports: says the same in DICOM.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        network: torch.nn.Module,
        heads: Sequence[Mapping[str, Any]],
        operating_point: TwoClassPoint,
        views: EachViewd,
        prevalence: float | None = None,
        saliency: bool = True,
        reports: DicomReports | None = None,
    ) -> None:
        super().__init__(output_dir, reports)
        self.sources: dict[str, tuple[list[str], list[str]]] = {}  # names and files of each row's images
        self.network, self.heads = network, heads_of(heads)
        self.point, self.views, self.prevalence = operating_point, views, prevalence
        self.saliency = flag(saliency) and hasattr(network, "maps")

    def save(self, engine: Engine) -> None:
        batch = engine.state.batch
        pred = engine.state.output["pred"]
        columns = head_columns(pred, self.heads)
        heat = self._saliency(batch["image"].to(pred.device), pred) if self.saliency else None
        for row, name in enumerate(batch["name"]):
            reasons = [batch["reason"][row] or reason for reason in batch["reasons"][row]]
            places = zip(batch["sources"][row], reasons, strict=True)
            self.rejected += [{"image": place, "reason": reason} for place, reason in places if place and reason]
            if batch["reason"][row]:
                continue
            facts = {key: batch[key][row] for key in ("patient_id", "laterality", "view") if key in batch}
            values = {key: float(column[row]) for key, column in columns.items()}
            there = [n for n, trace in enumerate(batch["traces"][row]) if trace is not None]
            files = [str(batch["traces"][row][n].meta["filename_or_obj"]) for n in there]
            self.sources[name] = [batch["sources"][row][n] for n in there], files
            self.rows.append({"image": name, **facts, **self._remarks(batch, row), **values})
            if heat is not None:
                self._draw(batch, row, heat[row])

    def _saliency(self, images: torch.Tensor, pred: torch.Tensor) -> torch.Tensor:
        """Return (B, V, H, W) for the main head: for its probability, or for the class that is called."""
        asked = pred[:, : self.heads[0].columns].argmax(1)
        heat = grad_cam(self.network, images, asked).cpu()
        return heat.reshape(len(heat), -1, *heat.shape[-2:])

    def _remarks(self, batch: Mapping[str, Any], row: int) -> dict[str, str]:
        """Return what is odd: quality flags, and views that training did not see."""
        there = [trace for trace in batch["traces"][row] if trace is not None]
        flags = {one for trace in there for one in str(trace.meta.get("quality_flags", "")).split(";") if one}
        seen, shown = self.point.get("views"), [view for view in batch["views"][row] if view]
        if seen and any(view not in seen for view in shown):
            flags.add("view_not_trained_on")
        return {"remarks": ";".join(sorted(flags))}

    def _draw(self, batch: Mapping[str, Any], row: int, heat: torch.Tensor) -> None:
        """Lay the saliency of each view over its source, on the source's own pixels."""
        for number, trace in enumerate(batch["traces"][row]):
            if trace is None:
                continue
            picture, _ = read_mammogram(trace.meta["filename_or_obj"])
            back = self.views.to_source(heat[number][None], trace)[0].numpy()
            back = cv2.resize(np.ascontiguousarray(back), picture.shape[::-1], interpolation=cv2.INTER_LINEAR)
            place = Path("overlays") / Path(batch["sources"][row][number]).with_suffix(".png")
            save_picture(self.folder / place, blend(picture, back))

    def write(self, table: pd.DataFrame) -> None:
        if self.heads[0].kind == "classes":
            classes = list(map(str, self.heads[0].values))
            table = apply_operating_point(table, None, classes, self.point)
            super().write(table)
            for row in table.to_dict("records"):
                called = str(row["predicted"])
                self.report(
                    *self.sources[row["image"]],
                    [Finding(name, float(row[f"p_{name}"]), decided=name == called) for name in classes],
                )
            return
        table = apply_point(table, self.point, self.prevalence)
        for row in table.to_dict("records"):
            finding = Finding(self.heads[0].name, row[PROBABILITY], row[THRESHOLD])
            self.report(*self.sources[row["image"]], [finding])
        write_csv(self.folder / "predictions.csv", _decided(table))
        for level, name in (("breast", "breasts.csv"), ("patient", "patients.csv")):
            known = table.dropna(subset=["patient_id"]) if "patient_id" in table else table.iloc[:0]
            known = known[known["laterality"] != ""] if level == "breast" and len(known) else known
            if len(known) and all(key in known for key in LEVELS[level]):
                joined = aggregate(known.assign(**{POSITIVE: False}), level, self.point.get("rule", "mean"))
                write_csv(self.folder / name, _decided(joined).drop(columns=[POSITIVE, "image"], errors="ignore"))


def _decided(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**{DECISION: table[PROBABILITY] >= table[THRESHOLD]})


def blend(picture: np.ndarray, heat: np.ndarray, opacity: float = 0.45) -> np.ndarray:
    """Return uint8 RGB (H, W, 3): a picture (H, W) in [0, 1] under heat (H, W) in [0, 1]."""
    colours = colormaps["inferno"](np.clip(heat, 0, 1))[..., :3]
    share = (opacity * np.clip(heat, 0, 1))[..., None]
    return np.round(255 * ((1 - share) * picture[..., None] + share * colours)).astype(np.uint8)

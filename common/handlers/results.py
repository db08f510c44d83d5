"""Write what a network says of each image, at the image's own size."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from ignite.engine import Engine, Events
from PIL import Image

from common.data.dicom.findings import Finding
from common.data.files import write_csv, write_whole
from common.data.flags import flag
from common.data.pixels import read_grey
from common.data.studies import note_rejected
from common.handlers.dicom_reports import DicomReports
from common.metrics.decisions import OperatingPoint, call_classes
from common.reports.figures import overlay
from common.transforms.outputs import DecideMaskd


def save_picture(path: Path, values: np.ndarray) -> None:
    """Save uint8 (H, W) or (H, W, 3) as PNG, whole or not at all."""
    write_whole(path, lambda file: Image.fromarray(values).save(file, format="PNG"))


class FolderResults:
    """What handlers that write down what is found in a folder have in common: rows, and what could not be read.

    Args:
        output_dir: where to write.
        reports: says the same in DICOM.
    """

    def __init__(self, output_dir: str | os.PathLike, reports: DicomReports | None = None) -> None:
        self.folder, self.reports = Path(output_dir), reports
        self.rows: list[dict[str, Any]] = []
        self.rejected: list[dict[str, str]] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.save)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def save(self, engine: Engine) -> None:
        raise NotImplementedError

    def finish(self, engine: Engine) -> None:
        note_rejected(self.folder, self.rejected)
        if not self.rows:
            raise ValueError(f"None of {len(self.rejected)} images could be read: see rejected.csv in {self.folder}.")
        self.write(pd.DataFrame(self.rows))
        if self.reports is not None:
            self.reports.finish()

    def report(self, images: Sequence[str], files: Sequence[str], findings: Sequence[Finding]) -> None:
        """Say what was found in one image, or in the views of a breast, in DICOM too."""
        if self.reports is not None:
            self.reports.add(images, files, findings)

    def write(self, table: pd.DataFrame) -> None:
        """Write the table of all rows."""
        write_csv(self.folder / "predictions.csv", table)


class SaveResults(FolderResults):
    """Write ``masks/<name>.png`` (0 and 255), ``overlays/<name>.png`` and ``predictions.csv``.

    Expects items with ``image``, ``file`` and ``name`` and, in the output, ``predicted_mask`` (1, H, W) and
    ``class_probability`` (C,), as far as the network gives them.

    Args:
        output_dir: where to write.
        classes: class names in the order of the probabilities.
        operating_point: by which a class is called in reports.
        reports: says the same in DICOM.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        classes: Sequence[str],
        operating_point: OperatingPoint | None = None,
        reports: DicomReports | None = None,
    ) -> None:
        super().__init__(output_dir, reports)
        self.classes, self.point = list(classes), operating_point

    def save(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            self._save_one(item, output)

    def _save_one(self, item: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        source = str(item["image"].meta["filename_or_obj"])
        row: dict[str, Any] = {"image": item["file"]}
        findings: list[Finding] = []
        if "class_probability" in output:
            row |= {f"p_{c}": float(p) for c, p in zip(self.classes, output["class_probability"], strict=True)}
            findings += self._called(np.asarray(output["class_probability"].cpu()))
        if "predicted_mask" in output:
            mask = output["predicted_mask"][0].cpu().numpy().astype(bool)
            row["lesion_area_px"] = int(mask.sum())
            save_picture(self.folder / "masks" / f"{item['name']}.png", mask.astype(np.uint8) * 255)
            picture = overlay(read_grey(source), mask)
            save_picture(self.folder / "overlays" / f"{item['name']}.png", np.round(picture * 255).astype(np.uint8))
            findings += lesions_of(mask)
        self.rows.append(row)
        self.report([item["file"]], [source], findings)

    def _called(self, probability: np.ndarray) -> list[Finding]:
        called = call_classes(probability[None], self.classes, self.point)[0]
        return [
            Finding(name, float(value), decided=bool(name == called))
            for name, value in zip(self.classes, probability, strict=True)
        ]


def lesions_of(mask: np.ndarray) -> list[Finding]:
    """Return a finding for each connected part of a mask, bool (H, W)."""
    count, parts = cv2.connectedComponents(mask.astype(np.uint8))
    return [Finding("lesion", outline=outline(parts == n), mask=parts == n) for n in range(1, count)]


def outline(mask: np.ndarray) -> list[list[int]]:
    """Return (x, y) along the border of the largest part of a mask, bool (H, W); none of an empty one."""
    parts, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    largest = max(parts, key=cv2.contourArea, default=np.zeros((0, 1, 2), np.int32))
    return cv2.approxPolyDP(largest, 1.0, True)[:, 0].tolist() if len(largest) else []


class SaveMasks:
    """During an evaluation write each image's final mask and ``masks.csv`` (image, mask).

    The table lets a later experiment take the masks that a network predicted for images it was not trained on.

    Args:
        output_dir: where to write.
        classes: class names in the order of the probabilities.
        operating_point: holds the mask's threshold.
        enabled: false does nothing.
    """

    def __init__(
        self, output_dir: str | os.PathLike, classes: Sequence[str], operating_point: Mapping, enabled: bool = True
    ) -> None:
        self.folder, self.enabled = (
            Path(output_dir),
            flag(enabled) and operating_point.get("mask_threshold") is not None,
        )
        self.decide = DecideMaskd("mask_probability", operating_point, classes)
        self.rows: list[dict[str, str]] = []

    def attach(self, engine: Engine) -> None:
        if self.enabled:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self.save)
            engine.add_event_handler(Events.COMPLETED, self.finish)

    def save(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            source = Path(item["image"].meta["filename_or_obj"])
            target = self.folder / "masks" / source.parent.name / f"{source.stem}.png"
            mask = self.decide(dict(output))["predicted_mask"][0].cpu().numpy()
            save_picture(target, mask.astype(np.uint8) * 255)
            self.rows.append({"image": str(source), "mask": str(target.resolve())})

    def finish(self, engine: Engine) -> None:
        write_csv(self.folder / "masks.csv", pd.DataFrame(self.rows))

"""Write what a network says of each image, at the image's own size."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ignite.engine import Engine, Events
from PIL import Image

from common.data.files import write_csv, write_whole
from common.data.flags import flag
from common.data.pixels import read_grey
from common.data.studies import note_rejected
from common.reports.figures import overlay
from common.transforms.outputs import DecideMaskd


def save_picture(path: Path, values: np.ndarray) -> None:
    """Save uint8 (H, W) or (H, W, 3) as PNG, whole or not at all."""
    write_whole(path, lambda file: Image.fromarray(values).save(file, format="PNG"))


class FolderResults:
    """What handlers that write down what is found in a folder have in common: rows, and what could not be read.

    Args:
        output_dir: where to write.
    """

    def __init__(self, output_dir: str | os.PathLike) -> None:
        self.folder = Path(output_dir)
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

    def write(self, table: pd.DataFrame) -> None:
        """Write the table of all rows."""
        write_csv(self.folder / "predictions.csv", table)


class SaveResults:
    """Write ``masks/<name>.png`` (0 and 255), ``overlays/<name>.png`` and ``predictions.csv``.

    Expects items with ``image``, ``file`` and ``name`` and, in the output, ``predicted_mask`` (1, H, W) and
    ``class_probability`` (C,), as far as the network gives them.

    Args:
        output_dir: where to write.
        classes: class names in the order of the probabilities.
    """

    def __init__(self, output_dir: str | os.PathLike, classes: Sequence[str]) -> None:
        self.folder, self.classes = Path(output_dir), list(classes)
        self.rows: list[dict[str, Any]] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.save)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def save(self, engine: Engine) -> None:
        for item, output in zip(engine.state.batch, engine.state.output, strict=True):
            self._save_one(item, output)

    def _save_one(self, item: Mapping[str, Any], output: Mapping[str, Any]) -> None:
        source = str(item["image"].meta["filename_or_obj"])
        row: dict[str, Any] = {"image": item["file"]}
        if "class_probability" in output:
            row |= {f"p_{c}": float(p) for c, p in zip(self.classes, output["class_probability"], strict=True)}
        if "predicted_mask" in output:
            mask = output["predicted_mask"][0].cpu().numpy().astype(bool)
            row["lesion_area_px"] = int(mask.sum())
            save_picture(self.folder / "masks" / f"{item['name']}.png", mask.astype(np.uint8) * 255)
            picture = overlay(read_grey(source), mask)
            save_picture(self.folder / "overlays" / f"{item['name']}.png", np.round(picture * 255).astype(np.uint8))
        self.rows.append(row)

    def finish(self, engine: Engine) -> None:
        write_csv(self.folder / "predictions.csv", pd.DataFrame(self.rows))


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

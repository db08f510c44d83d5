"""Write the maps that a classifier of patches gives of whole mammograms, on each source's own pixels."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from ignite.engine import Engine

from common.data.dicom.findings import Finding
from common.data.flags import flag
from common.data.heads import heads_of
from common.data.mammogram import read_mammogram, write_map
from common.handlers.breast_results import blend
from common.handlers.dicom_reports import DicomReports
from common.handlers.results import FolderResults, save_picture
from common.metrics.calibration import calibrated, calibrated_classes
from common.networks.sliding import SlidingPatches
from common.transforms.views import EachViewd


class SaveMaps(FolderResults):
    """Write ``maps/<image>_<class>.nii.gz``, ``overlays/<image>_<class>.png`` and ``predictions.csv``.

    A pixel's value is the probability of the window that is centred on it, interpolated between windows; outside the
    breast it is 0. The table holds the highest value of each class, and where it stands (row, column in the source).

    Args:
        output_dir: where to write.
        heads: see `common.data.heads`; the first one is drawn.
        operating_point: its calibration is applied.
        views: the deterministic step that the images went through, with traces.
        inferer: that slid the window.
        nifti: false leaves out the NIfTI files.
        reports: says the same in DICOM: the highest value of each class, as a point.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        heads: Sequence[Mapping[str, Any]],
        operating_point: Mapping[str, Any],
        views: EachViewd,
        inferer: SlidingPatches,
        nifti: bool = True,
        reports: DicomReports | None = None,
    ) -> None:
        super().__init__(output_dir, reports)
        self.head, self.inferer = heads_of(heads)[0], inferer
        self.calibration, self.views, self.nifti = operating_point.get("calibration"), views, flag(nifti)

    def save(self, engine: Engine) -> None:
        batch = engine.state.batch
        (name,), (reason,) = batch["name"], batch["reason"]
        if reason:
            self.rejected.append({"image": name, "reason": reason})
            return
        ((trace,),) = batch["traces"]
        picture, _ = read_mammogram(trace.meta["filename_or_obj"])
        row: dict[str, Any] = {"image": name, "remarks": trace.meta.get("quality_flags", "")}
        findings = []
        for label, grid in self._probabilities(engine.state.output["pred"][0]):
            values = self._on_source(grid, trace, picture.shape)
            at = np.unravel_index(values.argmax(), values.shape)
            facts = {"highest": float(values[at]), "row": int(at[0]), "column": int(at[1])}
            row |= {f"{key}_{label}": value for key, value in facts.items()}
            findings.append(Finding(label, facts["highest"], outline=[(facts["column"], facts["row"])]))
            self._write(f"{name}_{label.replace(' ', '_')}", values, picture, trace)
        self.rows.append(row)
        self.report([name], [trace.meta["filename_or_obj"]], findings)

    def _probabilities(self, logits: torch.Tensor) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the calibrated probabilities (rows, columns) of each class; windows outside the breast have 0."""
        head, logits = self.head, logits[: self.head.columns].float().cpu()
        missing = torch.isnan(logits[0]).numpy()
        if head.kind == "binary":
            own = logits[0].sigmoid().nan_to_num().double().numpy()
            yield head.name, np.where(missing, 0, calibrated(own.ravel(), self.calibration).reshape(own.shape))
            return
        own = logits.softmax(0).nan_to_num(1 / len(logits)).double().numpy()
        flat = own.reshape(len(own), -1).T
        flat = calibrated_classes(flat, self.calibration) if self.calibration else flat
        for label, column in zip(head.values, flat.T, strict=True):
            yield str(label), np.where(missing, 0, column.reshape(missing.shape))

    def _on_source(self, grid: np.ndarray, trace: Any, shape: tuple[int, ...]) -> np.ndarray:
        """Return the map (H, W) on the source's pixels, from the windows' grid."""
        stride, (high, wide) = self.inferer.stride, self.inferer.window
        place = np.array([[stride, 0, wide // 2], [0, stride, high // 2]], np.float64)
        frame = (int(trace.shape[-1]), int(trace.shape[-2]))
        large = cv2.warpAffine(grid.astype(np.float32), place, frame, flags=cv2.INTER_LINEAR)
        back = np.ascontiguousarray(self.views.to_source(torch.from_numpy(large)[None], trace)[0].numpy())
        return cv2.resize(back, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR).clip(0, 1)

    def _write(self, name: str, values: np.ndarray, picture: np.ndarray, trace: Any) -> None:
        save_picture(self.folder / "overlays" / f"{name}.png", blend(picture, values))
        if self.nifti:
            scale = [a / b for a, b in zip(self._loaded(trace), picture.shape, strict=True)]
            spacing = [float(mm) * s for mm, s in zip(trace.meta["pixel_spacing"], scale, strict=True)]
            write_map(self.folder / "maps" / f"{name}.nii.gz", values, (spacing[0], spacing[1]))

    def _loaded(self, trace: Any) -> tuple[int, int]:
        """Return the shape of the loaded image, of which the metadata give the spacing."""
        loaded = self.views.to_source(torch.zeros(1, *trace.shape[-2:]), trace)
        return int(loaded.shape[-2]), int(loaded.shape[-1])

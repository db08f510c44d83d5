"""Results as DICOM beside the other files: a structured report of each study, a segmentation of each image."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
import pydicom
from pydicom import Dataset
from pydicom.uid import generate_uid

from common.data.dicom.findings import Algorithm, Finding, check_source
from common.data.dicom.segmentation import segmentation
from common.data.dicom.structured_report import Statement, structured_report
from common.data.dicom.write import write_dicom
from common.data.files import read_json, write_csv
from common.data.flags import flag
from common.data.pixels import is_dicom, without_warnings


@dataclass
class _Study:
    name: str
    segmentations: str = field(default_factory=generate_uid)  # the UID of their series
    sources: dict[str, Dataset] = field(default_factory=dict)  # headers by SOP instance
    said: list[Statement] = field(default_factory=list)
    count: int = 0


class DicomReports:
    """Write ``dicom/<study>_sr.dcm``, ``dicom/<image>_seg.dcm``, and ``dicom.csv``: what came of an image, or why not.

    Studies are numbered; their identifiers stand in the files alone, as the source has them.

    Args:
        output_dir: where to write.
        bundle_root: of the bundle, whose ``metadata.json`` says who speaks, and in which version.
        name: of the bundle.
        enabled: false does nothing.
    """

    def __init__(
        self, output_dir: str | os.PathLike, bundle_root: str | os.PathLike, name: str, enabled: bool = True
    ) -> None:
        self.folder, self.enabled = Path(output_dir), flag(enabled)
        logging.getLogger("highdicom").setLevel(logging.WARNING)  # it tells identifiers below that
        self.algorithm = Algorithm(name, read_json(Path(bundle_root) / "configs" / "metadata.json")["version"])
        self.studies: dict[str, _Study] = {}
        self.rows: dict[str, dict[str, str]] = {}

    def add(self, images: Sequence[str], files: Sequence[str | os.PathLike], findings: Sequence[Finding]) -> None:
        """Take up what was found in one image, or in the views of a breast; write the segmentation.

        Args:
            images: their names.
            files: where they lie, in the same order; outlines and masks lie on the first of them.
            findings: may be none.
        """
        if not self.enabled:
            return
        there = []
        for image, file in zip(images, files, strict=True):
            row = self.rows.setdefault(image, {"image": image, "study": "", "segmentation": "", "refused": ""})
            try:
                there.append((image, _header(file)))
            except ValueError as error:
                row["refused"] = str(error)
        try:
            if there:
                self._take_up(there, findings)
        except Exception as error:  # whatever other people's headers hold; the run goes on, and the table says so
            self._refuse([image for image, _ in there], error)

    def _refuse(self, images: Sequence[str], error: Exception) -> None:
        for image in images:
            self.rows[image]["refused"] = f"{type(error).__name__}: {error}"[:300]

    def _take_up(self, there: Sequence[tuple[str, Dataset]], findings: Sequence[Finding]) -> None:
        (image, source), own = there[0], str(there[0][1].StudyInstanceUID)
        study = self.studies.setdefault(own, _Study(f"study_{len(self.studies) + 1:05d}"))
        for name, header in there:
            study.sources.setdefault(str(header.SOPInstanceUID), header)
            self.rows[name]["study"] = study.name
        about = [header for _, header in there]
        study.said += [(about, replace(finding, mask=None)) for finding in findings]
        study.count += 1
        found = segmentation(source, findings, self.algorithm, study.segmentations, study.count)
        if found is not None:
            place = Path("dicom") / f"{Path(image).with_suffix('')}_seg.dcm"
            write_dicom(self.folder / place, found)
            self.rows[image]["segmentation"] = place.as_posix()

    def finish(self) -> None:
        """Write the reports and the table."""
        if not self.enabled:
            return
        for study in self.studies.values():
            try:
                report = structured_report(list(study.sources.values()), study.said, self.algorithm)
                write_dicom(self.folder / "dicom" / f"{study.name}_sr.dcm", report)
            except Exception as error:
                self._refuse([image for image, row in self.rows.items() if row["study"] == study.name], error)
        write_csv(self.folder / "dicom.csv", pd.DataFrame(list(self.rows.values())))


def _header(file: str | os.PathLike) -> Dataset:
    """Return the header of an image that a report can refer to.

    Raises:
        ValueError: it is no DICOM file, or lacks identifiers.
    """
    if not is_dicom(Path(file)):
        raise ValueError("Reports in DICOM are made of DICOM images; this one is none.")
    with without_warnings():
        dataset = pydicom.dcmread(file, stop_before_pixels=True)
    check_source(dataset)
    return dataset

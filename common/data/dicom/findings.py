"""What a network says of an image, in the words of a DICOM report, and whether the image can bear one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

IDENTIFIERS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns")


@dataclass(frozen=True)
class Algorithm:
    """Which bundle speaks, in which version, and who made it."""

    name: str
    version: str
    manufacturer: str = "Breast-imaging bundles (research use only)"


@dataclass(frozen=True)
class Finding:
    """One statement on one image.

    Args:
        label: what it is, in words: "malignant", "mass", "lesion", "cancer".
        probability: of the label, in [0, 1].
        threshold: the operating point that the probability is held against; None where there is none.
        outline: (x, y) in pixels of the source, counted from the middle of its first pixel, at least one point.
        mask: bool (H, W) on the source's pixels.
        decided: what was decided, where that is not a matter of one threshold.
    """

    label: str
    probability: float | None = None
    threshold: float | None = None
    outline: Sequence[Sequence[float]] | None = None
    mask: np.ndarray | None = None
    decided: bool | None = None

    @property
    def called(self) -> bool | None:
        """Whether the probability reaches the operating point; None where that cannot be said."""
        if self.decided is not None:
            return self.decided
        if self.probability is None or self.threshold is None:
            return None
        return self.probability >= self.threshold

    @property
    def code(self) -> Code:
        """The concept of the label in SNOMED CT, by its last word."""
        return CODES.get(self.label.split()[-1], codes.SCT.Lesion)


CODES = {
    "mass": codes.SCT.Mass,
    "calcification": Code("129748004", "SCT", "Mammographic calcification of breast"),
    "lesion": codes.SCT.Lesion,
    "cancer": Code("363346000", "SCT", "Malignant neoplastic disease"),
    "malignant": Code("363346000", "SCT", "Malignant neoplastic disease"),
    "benign": Code("20376005", "SCT", "Benign neoplastic disease"),
    "normal": Code("17621005", "SCT", "Normal"),
    "background": Code("17621005", "SCT", "Normal"),
}


def check_source(dataset: Dataset) -> None:
    """Refuse an image that a report cannot refer to.

    Raises:
        ValueError: identifiers are missing, or it has several frames.
    """
    missing = [keyword for keyword in IDENTIFIERS if not dataset.get(keyword)]
    if missing:
        raise ValueError(
            f"A report needs to name its image, whose header lacks {', '.join(missing)}. Send the image as the archive "
            "holds it, not stripped of its UIDs."
        )
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ValueError(f"Reports are made of single images, and this one has {frames} frames.")

"""Mammogram phantoms in the layout of CBIS-DDSM: four CSV files, and for each case mammogram, mask and crop as DICOM.

As in life, some files are swapped, some masks have another size than their mammogram, some images hold several
abnormalities, and some patients stand on both sides of the joined official splits. An abnormality is a mass or
calcifications, benign or malignant, of the same shapes as in the RSNA phantoms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from common.data.dicom.write import grey_dataset, write_dicom
from common.data.mammogram_phantoms import DENSITIES, VIEWS, Breast, draw_mammogram
from common.data.patches import cut

KINDS = {"mass": ("Mass", "mass"), "calc": ("Calc", "calcifications")}
SIDES = {"L": "LEFT", "R": "RIGHT"}
PARTS = {"train": "Training", "test": "Test"}
BOTH_SIDES_EVERY = 20  # patients: one stands in the training part of one kind and the test part of the other
UID = "1.3.6.1.4.1.9590.100.1.2"


@dataclass(frozen=True)
class Case:
    """One breast of a patient in one of the two sets, with its findings (malignant or not)."""

    kind: str
    part: str
    patient: str
    breast: Breast

    def name(self, view: str) -> str:
        """Return TCIA's name of the case of a view."""
        return f"{KINDS[self.kind][0]}-{PARTS[self.part]}_{self.patient}_{SIDES[self.breast.laterality]}_{view}"


def draw_cases(number: int, rng: np.random.Generator, scale: float = 1.0) -> Iterator[Case]:
    """Yield the cases of so many patients; one in twenty has a case in either set, on different sides."""
    for index in range(number):
        part = "test" if index % 5 == 4 else "train"
        kinds = ["mass", "calc"] if index % BOTH_SIDES_EVERY == 3 else [str(rng.choice(list(KINDS)))]
        first = int(rng.integers(2))  # of a patient's two cases, one is of either breast
        for place, kind in enumerate(kinds):
            side = "train" if part == "test" else "test"
            several = 2 if rng.random() < 0.15 else 1
            findings = tuple((KINDS[kind][1], bool(rng.random() < 0.45)) for _ in range(several))
            density, size = str(rng.choice(DENSITIES, p=(0.15, 0.4, 0.35, 0.1))), float(rng.uniform())
            breast = Breast("LR"[(first + place) % 2], density, size, None, findings=findings, scale=scale)
            yield Case(kind, side if place else part, f"P_{index + 1:05d}", breast)


def write_case(case: Case, folder: Path, shape: tuple[int, int], rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Write both views of a case; yield the CSV's row of each abnormality."""
    for view in VIEWS:
        drawn = draw_mammogram(case.breast, view, shape, rng)
        stored, name = np.round(drawn.picture * 65535).astype(int), case.name(view)
        whole = f"{name}/{_uid(rng)}/{_uid(rng)}/000000.dcm"
        write_dicom(folder / whole, _film(stored, case, view))
        known = zip(case.breast.findings or (), drawn.findings, strict=True)
        for number, ((_, malignant), mask) in enumerate(known, 1):
            places = [f"{name}_{number}/{_uid(rng)}/{_uid(rng)}/00000{n}.dcm" for n in range(2)]
            crop, kept = _crop(stored, mask), _mask(mask, rng)
            files = (kept, crop) if rng.random() < 0.4 else (crop, kept)  # the CSV's names hold for the second order
            for place, values in zip(places, files, strict=True):
                write_dicom(folder / place, grey_dataset(values, 16 if values is crop else 8))
            yield _row(case, view, number, malignant, whole, places, rng)


def _uid(rng: np.random.Generator) -> str:
    return f"{UID}.{int(rng.integers(10**9, 10**10))}"


def _film(stored: np.ndarray, case: Case, view: str) -> Any:
    """A digitised film: no window, and the view in PatientOrientation, as CBIS-DDSM writes it."""
    return grey_dataset(stored, 16, PatientOrientation=view, Laterality=case.breast.laterality)


def _mask(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return 0 and 255, in one case of eight a little smaller than the mammogram."""
    if rng.random() < 1 / 8:
        size = (mask.shape[1] * 15 // 16, mask.shape[0] * 15 // 16)
        mask = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    return mask.astype(int) * 255


def _crop(stored: np.ndarray, mask: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    margin = max(4, (rows[-1] - rows[0]) // 4)
    low = [max(0, int(ends[0]) - margin) for ends in (rows, columns)]
    high = [min(side, int(ends[-1]) + margin) for ends, side in zip((rows, columns), stored.shape, strict=True)]
    return cut(stored, (low[0], low[1], high[0], high[1]))


def _row(
    case: Case, view: str, number: int, malignant: bool, whole: str, places: list[str], rng: np.random.Generator
) -> dict[str, Any]:
    mass = case.kind == "mass"
    benign = str(rng.choice(["BENIGN", "BENIGN_WITHOUT_CALLBACK"], p=(0.7, 0.3)))
    shape = ("IRREGULAR", "SPICULATED") if malignant else ("ROUND", "CIRCUMSCRIBED")
    cluster = ("PLEOMORPHIC", "CLUSTERED") if malignant else ("PUNCTATE", "SCATTERED")
    names = ("mass shape", "mass margins") if mass else ("calc type", "calc distribution")
    return {
        "patient_id": case.patient,
        "breast_density" if mass else "breast density": DENSITIES.index(case.breast.density) + 1,
        "left or right breast": SIDES[case.breast.laterality],
        "image view": view,
        "abnormality id": number,
        "abnormality type": "mass" if mass else "calcification",
        **dict(zip(names, shape if mass else cluster, strict=True)),
        "assessment": int(rng.choice([4, 5])) if malignant else int(rng.choice([0, 2, 3])),
        "pathology": "MALIGNANT" if malignant else benign,
        "subtlety": int(rng.integers(1, 6)),
        "image file path": whole,
        "cropped image file path": places[0],
        "ROI mask file path": places[1] + "\n",  # the line break is in the real files too
    }

"""Studies of mammogram phantoms in the layout of the RSNA screening set: the CSV's columns, and DICOM as its machines
write it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom import Dataset, uid

from common.data.dicom.write import grey_dataset
from common.data.mammogram_phantoms import DENSITIES, VIEWS, Breast, draw_mammogram

COLUMNS = (
    *("site_id", "patient_id", "image_id", "laterality", "view", "age", "cancer", "biopsy", "invasive", "BIRADS"),
    *("implant", "density", "machine_id", "difficult_negative_case"),
)
OUTCOMES = ("cancer", "biopsy", "invasive", "BIRADS", "difficult_negative_case")


@dataclass(frozen=True)
class Machine:
    """How a machine writes its images."""

    site_id: int
    syntax: str
    photometric: str
    function: str = "LINEAR"
    bits: int = 12
    padding: int | None = None


MACHINES = {
    49: Machine(1, uid.JPEGLosslessSV1, "MONOCHROME1"),
    48: Machine(1, uid.JPEG2000Lossless, "MONOCHROME2", "SIGMOID"),
    170: Machine(2, uid.JPEG2000Lossless, "MONOCHROME1", padding=4095),
    21: Machine(2, uid.JPEGLosslessSV1, "MONOCHROME2", bits=14),
    29: Machine(1, uid.JPEG2000Lossless, "MONOCHROME2", bits=10, padding=0),
    93: Machine(2, uid.ExplicitVRLittleEndian, "MONOCHROME2"),
}


def draw_patient(
    patient_id: int, cancer_share: float, rng: np.random.Generator, scale: float = 1.0
) -> tuple[list[dict[str, Any]], list[Breast]]:
    """Return the rows and the breasts of a patient's four images: both views of both breasts.

    Args:
        patient_id: an identifier.
        cancer_share: of the images; a patient has cancer in one breast twice as often.
        rng: source of randomness.
        scale: of the findings (`common.data.mammogram_phantoms.Breast`).
    """
    machine_id = int(rng.choice(list(MACHINES)))
    sick = rng.random() < 2 * cancer_share
    side = str(rng.choice(["L", "R"])) if sick else ""
    age = int(np.clip(rng.normal(62 if sick else 58, 10), 30, 89))
    density = str(rng.choice(DENSITIES, p=(0.1, 0.43, 0.4, 0.07)))
    implant, size = int(rng.random() < 0.027), float(rng.uniform())
    rows, breasts = [], []
    for laterality in ("L", "R"):
        kind = str(rng.choice(["mass", "calcifications"])) if laterality == side else None
        outcome = _outcomes(laterality == side, MACHINES[machine_id].site_id, rng)
        for view in VIEWS:
            facts = {"patient_id": patient_id, "image_id": int(rng.integers(10**6, 2**31)), "laterality": laterality}
            facts |= {"site_id": MACHINES[machine_id].site_id, "view": view, "age": age, "implant": implant}
            rows.append({**facts, "density": density, "machine_id": machine_id, **outcome})
            breasts.append(Breast(laterality, density, size, kind, bool(implant), scale=scale))
    return rows, breasts


def _outcomes(cancer: bool, site_id: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return what follows from a breast's state; BI-RADS is given at one of the sites only, as in life."""
    biopsy = cancer or rng.random() < 0.035
    recalled = cancer or biopsy or rng.random() < 0.1
    assessment: Any = 0 if recalled else int(rng.choice([1, 2], p=(0.6, 0.4)))
    return {
        "cancer": int(cancer),
        "biopsy": int(biopsy),
        "invasive": int(cancer and rng.random() < 0.7),
        "BIRADS": assessment if site_id == 1 else "",
        "difficult_negative_case": bool(not cancer and recalled),
    }


def draw_image(row: dict[str, Any], breast: Breast, shape: tuple[int, int], rng: np.random.Generator) -> Dataset:
    """Return the DICOM data set of one image as its machine would write it."""
    machine = MACHINES[row["machine_id"]]
    picture = draw_mammogram(breast, row["view"], shape, rng).picture
    top = (1 << machine.bits) - 1
    stored = np.round(picture * 0.9 * top + 0.03 * top).astype(int)
    if machine.photometric == "MONOCHROME1":
        stored = top - stored
    if machine.padding is not None:  # a strip beside the field of view
        strip = slice(-shape[1] // 40, None) if breast.laterality == "L" else slice(0, shape[1] // 40)
        stored[:, strip] = machine.padding
    elements: dict[str, Any] = {"PatientID": str(row["patient_id"]), "PatientAge": f"{row['age']:03}Y"}
    elements |= {"PhotometricInterpretation": machine.photometric, "ImageLaterality": row["laterality"]}
    elements |= {"ViewPosition": row["view"], "ImagerPixelSpacing": [round(233 / shape[0], 4)] * 2}
    elements |= {"WindowCenter": top // 2, "WindowWidth": top + 1, "VOILUTFunction": machine.function}
    if machine.padding is not None:
        elements["PixelPaddingValue"] = machine.padding
    return grey_dataset(stored, machine.bits, machine.syntax, **elements)


def draw_studies(
    patients: int, cancer_share: float, shape: tuple[int, int], seed: int, scale: float = 1.0
) -> Iterator[tuple[dict[str, Any], Dataset]]:
    """Yield (row of the CSV, data set) of every image; a patient's do not depend on how many patients there are."""
    for number in range(patients):
        rng = np.random.default_rng([seed, number])
        for row, breast in zip(*draw_patient(10_000 + number, cancer_share, rng, scale), strict=True):
            yield row, draw_image(row, breast, shape, rng)

"""Phantom studies as an archive sends them: DICOM with every identifier, of nobody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from pydicom import Dataset, uid
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from common.data.dicom.write import grey_dataset
from common.data.mammogram_phantoms import VIEWS, Breast, draw_mammogram
from common.data.ultrasound_phantoms import draw_scene, scan

Drawn = tuple[str, Dataset, np.ndarray]  # name, data set, mask of the lesions (H, W)
VIEW_CODES = {
    "CC": Code("399162004", "SCT", "cranio-caudal"),
    "MLO": Code("399368009", "SCT", "medio-lateral oblique"),
}


def draw_mammography(number: int, rng: np.random.Generator, rows: int = 832, scale: float = 1.0) -> Iterator[Drawn]:
    """Yield the four views of a patient, with a mass in one of the breasts."""
    study, shape = _study(number, "Phantom mammography"), (rows, rows * 10 // 13)
    sick = str(rng.choice(["L", "R"]))
    for count, (side, view) in enumerate([(side, view) for side in "LR" for view in VIEWS], 1):
        breast = Breast(side, "B", 0.6, "mass" if side == sick else None, scale=scale)
        drawn = draw_mammogram(breast, view, shape, rng)
        stored = np.round(drawn.picture * 4095).astype(int)
        elements = {**study, **_series(study, 1, count), **_mammogram(side, view, shape)}
        yield f"{side}_{view}", grey_dataset(stored, 12, **elements), drawn.lesion


def draw_ultrasound(
    number: int, rng: np.random.Generator, images: int = 2, label: str = "malignant"
) -> Iterator[Drawn]:
    """Yield images of one lesion each."""
    study = _study(number, "Phantom breast ultrasound")
    for count in range(1, images + 1):
        scene = draw_scene(label, rng)
        picture = scan(scene, rng).astype(int)
        elements = {**study, **_series(study, 1, count), "Modality": "US", "SOPClassUID": uid.UltrasoundImageStorage}
        elements |= {"ImageType": ["ORIGINAL", "PRIMARY", "BREAST", "0001"], "LossyImageCompression": "00"}
        elements |= {"Laterality": "", "PatientOrientation": ""}
        dataset = grey_dataset(picture, 8, **elements)
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        yield f"image_{count}", dataset, np.logical_or.reduce(scene.masks or [np.zeros(picture.shape, bool)])


def _study(number: int, description: str) -> dict[str, Any]:
    return {
        "PatientName": f"Phantom^{number}",
        "PatientID": f"PHANTOM{number:05d}",
        "PatientBirthDate": "",
        "PatientSex": "F",
        "StudyInstanceUID": uid.generate_uid(),
        "StudyDate": "20250101",
        "StudyTime": "120000",
        "StudyID": str(number),
        "AccessionNumber": f"{number:05d}",
        "ReferringPhysicianName": "",
        "StudyDescription": description,
        "Manufacturer": "Phantom",
        "InstanceCreationDate": "20250101",
    }


def _series(study: dict[str, Any], series: int, instance: int) -> dict[str, Any]:
    own = uid.generate_uid(entropy_srcs=[study["StudyInstanceUID"], str(series)])
    return {"SeriesInstanceUID": own, "SeriesNumber": series, "InstanceNumber": instance}


def _mammogram(side: str, view: str, shape: tuple[int, int]) -> dict[str, Any]:
    """Return what the module of a mammogram asks for, as far as a phantom can say it."""
    return {
        "ImageLaterality": side,
        "ViewPosition": view,
        "ViewCodeSequence": [_view(view)],
        "PatientOrientation": ["P", "L"] if side == "R" else ["A", "R"],
        "PresentationIntentType": "FOR PRESENTATION",
        "ImageType": ["DERIVED", "PRIMARY"],
        "BodyPartExamined": "BREAST",
        "ImagerPixelSpacing": [round(233 / shape[0], 4)] * 2,
        "WindowCenter": 2048,
        "WindowWidth": 4096,
        "PixelIntensityRelationship": "LIN",
        "PixelIntensityRelationshipSign": 1,
        "RescaleIntercept": 0,
        "RescaleSlope": 1,
        "RescaleType": "US",
        "PresentationLUTShape": "IDENTITY",
        "LossyImageCompression": "00",
        "BurnedInAnnotation": "NO",
        "AnatomicRegionSequence": [_item(codes.SCT.Breast)],
        "DetectorType": "DIRECT",
        "PositionerType": "MAMMOGRAPHIC",
        "OrganExposed": "BREAST",
        "AcquisitionContextSequence": [],
    }


def _item(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def _view(name: str) -> Dataset:
    item = _item(VIEW_CODES[name])
    item.ViewModifierCodeSequence = []
    return item

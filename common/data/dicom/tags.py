"""What a mammogram's header says of view, laterality and spacing; nothing that tells who the patient is."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pydicom

CODES = {  # PS3.16 CID 4014 View for Mammography: SNOMED CT and, in older files, SNOMED-RT
    **dict.fromkeys(("399162004", "R-10242"), "CC"),
    **dict.fromkeys(("399368009", "R-10226"), "MLO"),
    **dict.fromkeys(("399260004", "R-10224"), "ML"),
    **dict.fromkeys(("399352003", "R-10228"), "LM"),
    **dict.fromkeys(("399099002", "R-10230"), "LMO"),
    **dict.fromkeys(("399196006", "R-10244"), "FB"),
    **dict.fromkeys(("399192008", "R-1024A"), "XCCL"),
    **dict.fromkeys(("399101009", "R-1024B"), "XCCM"),
    **dict.fromkeys(("399188001", "R-102D0"), "SIO"),
    **dict.fromkeys(("441555000", "R-40AAA"), "ISO"),
}
VIEWS = {*CODES.values(), "AT"}
IMPLANT = {"YES": True, "NO": False}  # BreastImplantPresent (0028,1300)
MAMMOGRAPHY, ULTRASOUND = ("MG", "CR", "OT"), ("US", "OT")  # modalities; "OT" are secondary captures
SPACINGS = ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing")


def unsuited(dataset: pydicom.Dataset, modalities: Collection[str]) -> str | None:
    """Return why an image is none for a network of these modalities; None where nothing speaks against it.

    Raw data of a detector (PresentationIntentType (0008,0068) FOR PROCESSING) have other greys than those that a
    radiologist, and the networks, see.
    """
    modality = str(dataset.get("Modality") or "").upper()
    if modality and modality not in modalities:
        return f"its modality is {modality}; expected one of {', '.join(modalities)}"
    raw = str(dataset.get("PresentationIntentType") or "").upper() == "FOR PROCESSING"
    if raw or "For Processing" in pydicom.uid.UID(str(dataset.get("SOPClassUID") or "")).name:
        return "raw data of the detector (FOR PROCESSING); send the image FOR PRESENTATION"
    return None


def view(dataset: pydicom.Dataset) -> str | None:
    """Return the view from ViewPosition (0018,5101), ViewCodeSequence (0054,0220), or, as CBIS-DDSM writes it,
    PatientOrientation; None if none of them says."""
    position = str(dataset.get("ViewPosition") or "").upper().strip()
    if position:
        return position
    for item in dataset.get("ViewCodeSequence") or []:
        found = CODES.get(str(item.get("CodeValue", "")))
        if found:
            return found
    orientation = str(dataset.get("PatientOrientation") or "").upper()
    return orientation if orientation in VIEWS else None


def laterality(dataset: pydicom.Dataset) -> str | None:
    """Return L or R from ImageLaterality (0020,0062), else Laterality (0020,0060), of the series or of the frame."""
    found = [dataset.get("ImageLaterality"), dataset.get("Laterality")]
    for group in dataset.get("SharedFunctionalGroupsSequence") or []:
        found += [item.get("FrameLaterality") for item in group.get("FrameAnatomySequence") or []]
    sides = (str(value or "").upper().strip() for value in found)
    return next((side for side in sides if side in ("L", "R")), None)


def pixel_spacing(dataset: pydicom.Dataset) -> tuple[float, float] | None:
    """Return (row, column) spacing in mm at the detector: ImagerPixelSpacing (0018,1164), else PixelSpacing
    (0028,0030), else NominalScannedPixelSpacing (0018,2010) of a digitised film."""
    for keyword in SPACINGS:
        value: Any = dataset.get(keyword)
        if value is not None and value != "" and len(value) == 2 and all(float(v) > 0 for v in value):
            return float(value[0]), float(value[1])
    return None


def describe(dataset: pydicom.Dataset) -> dict[str, Any]:
    """Return what later steps use of the header, by the names of the image contract."""
    return {
        "view": view(dataset),
        "laterality": laterality(dataset),
        "pixel_spacing": pixel_spacing(dataset),
        "implant": IMPLANT.get(str(dataset.get("BreastImplantPresent") or "").upper()),
        "photometric_interpretation": str(dataset.PhotometricInterpretation),
    }

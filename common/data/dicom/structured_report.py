"""Findings as a structured report: template TID 1500, Measurement Report (DICOM PS3.16), by highdicom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import highdicom as hd
import numpy as np
from highdicom import sr
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from common.data.dicom.findings import CODES, Algorithm, Finding, check_source

OWN = "99BIB"  # the designator of codes that no standard has
DECISION = Code("decision", OWN, "Decision at the operating point")
DECIDED = {True: Code("called", OWN, "Called"), False: Code("not_called", OWN, "Not called")}
PERCENT = Code("%", "UCUM", "percent")
NUMBER = 9000  # of the series; high, so that viewers list it last
Statement = tuple[Sequence[Dataset], Finding]
Group = sr.MeasurementsAndQualitativeEvaluations | sr.PlanarROIMeasurementsAndQualitativeEvaluations


def structured_report(sources: Sequence[Dataset], said: Sequence[Statement], algorithm: Algorithm) -> Dataset:
    """Return a Comprehensive SR (which archives have known longest) of what was found in images of one study.

    Each finding becomes a measurement group: its type, the probability in percent, the operating point, the decision,
    and, where it has an outline, the region in the image's own pixel matrix.

    Args:
        sources: headers of all images that were looked at, also of those where nothing was found.
        said: what was found, each with the images that it is about; an outline lies on the first of them.
        algorithm: who says so.

    Raises:
        ValueError: an image lacks identifiers, or they are of several studies.
    """
    for source in sources:
        check_source(source)
    if len({source.StudyInstanceUID for source in sources}) != 1:
        raise ValueError("A report holds the images of one study; these are of several.")
    groups = [_group(about, finding, number, algorithm) for number, (about, finding) in enumerate(said, 1)]
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=_observer(algorithm)),
        procedure_reported=_procedure(sources[0]),
        imaging_measurements=groups or None,
        title=codes.DCM.ImagingMeasurementReport,
        referenced_images=list(sources),
    )
    return sr.ComprehensiveSR(
        evidence=list(sources),
        content=report[0],
        series_instance_uid=generate_uid(),
        series_number=NUMBER,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=algorithm.manufacturer,
        is_complete=True,
        series_description=f"{algorithm.name} {algorithm.version}"[:64],
    )


def _observer(algorithm: Algorithm) -> sr.ObserverContext:
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=[algorithm.name, algorithm.version]),
        name=algorithm.name,
        manufacturer_name=algorithm.manufacturer,
        model_name=f"{algorithm.name} {algorithm.version}",
    )
    return sr.ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)


def _procedure(source: Dataset) -> Code:
    if source.get("Modality") == "US":
        return Code("47079000", "SCT", "Ultrasonography of breast")
    return Code("71651007", "SCT", "Mammography")


def _group(about: Sequence[Dataset], finding: Finding, number: int, algorithm: Algorithm) -> Group:
    """Return the measurement group of a finding: with a region (TID 1410), or of the whole image (TID 1501)."""
    shared: dict[str, Any] = {
        "tracking_identifier": sr.TrackingIdentifier(generate_uid(), f"{finding.label} {number}"),
        "finding_type": finding.code,
        "algorithm_id": sr.AlgorithmIdentification(algorithm.name, algorithm.version),
        "finding_sites": [sr.FindingSite(codes.SCT.Breast, laterality=_side(about[0]))],
        "measurements": _measurements(finding),
        "qualitative_evaluations": _decision(finding),
    }
    if finding.outline is None or not len(finding.outline):
        whole = [sr.SourceImageForMeasurementGroup.from_source_image(source) for source in about]
        return sr.MeasurementsAndQualitativeEvaluations(**shared, source_images=whole)
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(**shared, referenced_region=_region(about[0], finding))


def _side(source: Dataset) -> Code | None:
    side = source.get("ImageLaterality") or source.get("Laterality")
    return {"L": codes.SCT.Left, "R": codes.SCT.Right}.get(str(side))


def _measurements(finding: Finding) -> list[sr.Measurement]:
    cancer = finding.code == CODES["cancer"]
    name = codes.DCM.ProbabilityOfCancer if cancer else codes.DCM.CertaintyOfFinding
    values = {name: finding.probability, codes.DCM.CADOperatingPoint: finding.threshold}
    return [
        sr.Measurement(name=name, value=round(100 * value, 4), unit=PERCENT)
        for name, value in values.items()
        if value is not None
    ]


def _decision(finding: Finding) -> list[sr.QualitativeEvaluation]:
    return [] if finding.called is None else [sr.QualitativeEvaluation(name=DECISION, value=DECIDED[finding.called])]


def _region(source: Dataset, finding: Finding) -> sr.ImageRegion:
    """Return a closed polygon, or a point; DICOM counts from the upper left corner of the first pixel."""
    points = np.asarray(finding.outline, np.float64) + 0.5
    limits = np.array([source.Columns, source.Rows], np.float64)
    points = points.clip(0, limits)
    few = len(points) < 3
    kind = hd.sr.GraphicTypeValues.POINT if few else hd.sr.GraphicTypeValues.POLYLINE
    graphic = points[:1] if few else np.concatenate([points, points[:1]])
    return sr.ImageRegion(kind, graphic, sr.SourceImageForRegion.from_source_image(source))

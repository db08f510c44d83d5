"""Masks as a DICOM segmentation that refers to its image and lies in the image's own pixel matrix, by highdicom."""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from common.data.dicom.findings import Algorithm, Finding, check_source

NUMBER = 9001  # of the series, behind the report's


def segmentation(
    source: Dataset, findings: Sequence[Finding], algorithm: Algorithm, series: str, number: int = 1
) -> Dataset | None:
    """Return a binary SEG with a segment for each finding that has a mask; None where none has a pixel.

    Args:
        source: header of the image.
        findings: on it.
        algorithm: who says so.
        series: its UID; the segmentations of a study share one.
        number: of the instance in the series.

    Raises:
        ValueError: the image lacks identifiers, or a mask has another size than it.
    """
    check_source(source)
    shape = (int(source.Rows), int(source.Columns))
    drawn = [finding for finding in findings if finding.mask is not None and finding.mask.any()]
    for finding in drawn:
        if finding.mask is not None and finding.mask.shape != shape:
            raise ValueError(f"A mask of {finding.mask.shape} does not lie on an image of {shape}.")
    if not drawn:
        return None
    masks = np.stack([np.asarray(finding.mask, bool) for finding in drawn], -1)
    result = hd.seg.Segmentation(
        source_images=[source],
        pixel_array=masks[None],
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(finding, n, algorithm) for n, finding in enumerate(drawn, 1)],
        series_instance_uid=series,
        series_number=NUMBER,
        sop_instance_uid=generate_uid(),
        instance_number=number,
        manufacturer=algorithm.manufacturer,
        manufacturer_model_name=algorithm.name,
        software_versions=algorithm.version,
        device_serial_number="none",
        content_label="FINDINGS",
        series_description=f"{algorithm.name} {algorithm.version}"[:64],
    )
    if "PatientOrientation" not in result:
        result.PatientOrientation = None  # which the standard wants empty where the image does not say it
    return result


def _description(finding: Finding, number: int, algorithm: Algorithm) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=f"{finding.label} {number}"[:64],
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=finding.code,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=algorithm.name, family=codes.DCM.ArtificialIntelligence, version=algorithm.version
        ),
        anatomic_regions=[codes.SCT.Breast],
    )

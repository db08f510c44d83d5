"""Reports and segmentations in DICOM: valid to other people's tools, on the source's own pixels, kept by an archive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import highdicom as hd
import numpy as np
import pandas as pd
import pydicom
import pytest
from dicom_tools import content_of, errors_of, orthanc
from pydicom import Dataset

from common.data.bundle import bundle_root
from common.data.dicom.findings import Algorithm, Finding
from common.data.dicom.segmentation import segmentation
from common.data.dicom.structured_report import structured_report
from common.data.dicom.write import write_dicom
from common.data.study_phantoms import Drawn, draw_mammography, draw_ultrasound
from common.handlers.dicom_reports import DicomReports
from common.handlers.results import lesions_of, outline

STUDIES: dict[str, Callable[..., Iterator[Drawn]]] = {"mammography": draw_mammography, "ultrasound": draw_ultrasound}
WHO = Algorithm("cbis_maskrcnn", "1.2.3")


@pytest.fixture(params=list(STUDIES))
def study(request: pytest.FixtureRequest, tmp_path: Path) -> list[tuple[Path, Dataset, np.ndarray]]:
    drawn = STUDIES[request.param](7, np.random.default_rng(0))
    return [(write_dicom(tmp_path / f"{name}.dcm", dataset), dataset, mask) for name, dataset, mask in drawn]


def reported(folder: Path, study: list[tuple[Path, Dataset, np.ndarray]]) -> DicomReports:
    reports = DicomReports(folder, bundle_root("cbis_maskrcnn"), "cbis_maskrcnn", True)
    for path, _, mask in study:
        found = [Finding("mass", 0.8, 0.5, outline(mask), mask)] if mask.any() else []
        reports.add([path.name], [str(path)], [*found, Finding("cancer", 0.123, 0.2)])
    reports.finish()
    return reports


def test_reports_and_segmentations_are_valid_dicom(study, tmp_path: Path) -> None:
    reported(tmp_path / "out", study)
    written = sorted((tmp_path / "out" / "dicom").glob("*.dcm"))
    assert len(written) == 1 + sum(mask.any() for _, _, mask in study)
    for path in [*written, *(path for path, _, _ in study)]:
        assert errors_of(path) == []


def test_the_report_says_what_was_found_where_and_by_whom(study, tmp_path: Path) -> None:
    reported(tmp_path / "out", study)
    said = content_of(tmp_path / "out" / "dicom" / "study_00001_sr.dcm")
    assert said.count('(4147007,SCT,"Mass")') == sum(mask.any() for _, _, mask in study)
    assert said.count('"Probability of cancer")="12.3" (%,UCUM,"percent")') == len(study)
    assert '"CAD Operating Point")="20.0"' in said and '(not_called,99BIB,"Not called")' in said
    assert '"Algorithm Name")="cbis_maskrcnn"' in said and '"Algorithm Version")="0.1.0"' in said
    assert said.count('"Image Region")=(POLYLINE') == sum(mask.any() for _, _, mask in study)


def test_a_segmentation_lies_on_the_lesion_and_names_its_source(study, tmp_path: Path) -> None:
    reported(tmp_path / "out", study)
    path, source, mask = study[-1] if study[-1][2].any() else study[0]
    found = hd.seg.segread(tmp_path / "out" / "dicom" / f"{path.stem}_seg.dcm")
    pixels = found.get_pixels_by_source_instance([source.SOPInstanceUID], segment_numbers=[1])[0, ..., 0]
    assert pixels.shape == (source.Rows, source.Columns)
    np.testing.assert_array_equal(pixels.astype(bool), mask)
    assert found.StudyInstanceUID == source.StudyInstanceUID and found.PatientID == source.PatientID


def test_regions_count_from_the_corner_of_the_first_pixel() -> None:
    (_, source, _), *_ = draw_ultrasound(1, np.random.default_rng(0))
    report = structured_report([source], [([source], Finding("mass", 0.5, outline=[(0, 0), (4, 0), (4, 2)]))], WHO)
    (region,) = [item for item in _items(report) if "GraphicData" in item]
    assert list(region.GraphicData) == [0.5, 0.5, 4.5, 0.5, 4.5, 2.5, 0.5, 0.5]


def _items(dataset: Dataset) -> Iterator[Dataset]:
    yield dataset
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _items(item)


def test_an_archive_takes_them_links_them_to_the_study_and_gives_them_back_unchanged(study, tmp_path: Path) -> None:
    reported(tmp_path / "out", study)
    files = [*(path for path, _, _ in study), *(tmp_path / "out" / "dicom").glob("*.dcm")]
    (tmp_path / "archive").mkdir()
    with orthanc(tmp_path / "archive") as archive:
        archive.send(*files)
        (own,) = archive.ask("/studies")
        kinds = [
            archive.ask(f"/series/{one}")["MainDicomTags"]["Modality"]
            for one in archive.ask(f"/studies/{own}")["Series"]
        ]
        assert sorted(kinds) == sorted({study[0][1].Modality, "SR", "SEG"})
        back = [pydicom.dcmread(BytesIO(archive.get(f"/instances/{one}/file"))) for one in archive.ask("/instances")]
    sent = {str(dataset.SOPInstanceUID): dataset for dataset in map(pydicom.dcmread, files)}
    assert len(back) == len(sent) and all(sent[str(one.SOPInstanceUID)] == one for one in back)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"StudyInstanceUID": None}, "StudyInstanceUID"),
        ({"SOPInstanceUID": None, "SeriesInstanceUID": None}, "SOPInstanceUID, SeriesInstanceUID"),
        ({"NumberOfFrames": 2}, "2 frames"),
    ],
)
def test_an_image_without_identifiers_bears_no_report(study, change: dict, words: str) -> None:
    source = study[0][1]
    for keyword, value in change.items():
        setattr(source, keyword, value)
    for make in (
        lambda: structured_report([source], [], WHO),
        lambda: segmentation(source, [Finding("mass", mask=study[0][2])], WHO, "1.2.3"),
    ):
        with pytest.raises(ValueError, match=words):
            make()


def test_images_that_cannot_bear_a_report_are_named_with_the_reason_and_stop_nothing(study, tmp_path: Path) -> None:
    (tmp_path / "plain.png").write_bytes(b"no DICOM")
    stripped = study[0][1]
    del stripped.SeriesInstanceUID
    write_dicom(tmp_path / "stripped.dcm", stripped)
    reports = DicomReports(tmp_path / "out", bundle_root("cbis_maskrcnn"), "cbis_maskrcnn", True)
    for name in ("plain.png", "stripped.dcm", study[1][0].name):
        reports.add([name], [str(tmp_path / name)], [Finding("cancer", 0.5, 0.2)])
    reports.finish()
    refused = pd.read_csv(tmp_path / "out" / "dicom.csv", keep_default_na=False).set_index("image")["refused"]
    assert "none" in refused["plain.png"] and "SeriesInstanceUID" in refused["stripped.dcm"]
    assert refused[study[1][0].name] == "" and [path.name for path in (tmp_path / "out" / "dicom").iterdir()] == [
        "study_00001_sr.dcm"
    ]


def test_a_mask_that_does_not_fit_stops_nothing_and_is_named(study, tmp_path: Path) -> None:
    reports = DicomReports(tmp_path / "out", bundle_root("cbis_maskrcnn"), "cbis_maskrcnn", True)
    for (path, _, _), odd in zip(study[:2], (np.ones((3, 3), bool), np.ones_like(study[1][2])), strict=True):
        reports.add([path.name], [str(path)], [Finding("mass", 0.8, 0.5, mask=odd)])
    reports.finish()
    refused = pd.read_csv(tmp_path / "out" / "dicom.csv", keep_default_na=False)["refused"].tolist()
    assert "does not lie on" in refused[0] and refused[1] == ""
    assert (tmp_path / "out" / "dicom" / f"{study[1][0].stem}_seg.dcm").is_file()


def test_a_mask_of_another_size_is_refused() -> None:
    (_, source, mask), *_ = draw_ultrasound(1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="does not lie on an image"):
        segmentation(source, [Finding("mass", mask=mask[1:])], WHO, "1.2.3")


def test_images_of_two_studies_make_no_report() -> None:
    one, two = (next(draw_ultrasound(n, np.random.default_rng(0)))[1] for n in (1, 2))
    with pytest.raises(ValueError, match="several"):
        structured_report([one, two], [], WHO)


def test_each_part_of_a_mask_is_a_finding_with_its_outline() -> None:
    mask = np.zeros((20, 30), bool)
    mask[2:5, 3:9], mask[10:18, 20:22] = True, True
    one, two = lesions_of(mask)
    assert one.mask is not None and one.mask.sum() == 18 and two.mask is not None and two.mask.sum() == 16
    assert sorted(map(tuple, one.outline or [])) == [(3, 2), (3, 4), (8, 2), (8, 4)]


def test_turned_off_it_writes_nothing(study, tmp_path: Path) -> None:
    reports = DicomReports(tmp_path / "out", bundle_root("cbis_maskrcnn"), "cbis_maskrcnn", "false")  # type: ignore[arg-type]
    reports.add(["a"], [str(study[0][0])], [])
    reports.finish()
    assert not (tmp_path / "out").exists()

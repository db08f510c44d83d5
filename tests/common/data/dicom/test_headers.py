"""View, laterality and spacing by their fallbacks, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, uid

from common.data.dicom.codestream import parse
from common.data.dicom.tags import laterality, pixel_spacing, view
from common.data.dicom.write import grey_dataset, write_dicom
from common.data.mammogram import read_mammogram

VALUES = np.arange(64 * 48).reshape(64, 48)


def of(**elements: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def code(value: str) -> list[Dataset]:
    return [of(CodeValue=value)]


@pytest.mark.parametrize(
    ("elements", "found"),
    [
        ({"ViewPosition": "MLO "}, "MLO"),
        ({"ViewPosition": "CC", "ViewCodeSequence": code("R-10226")}, "CC"),
        ({"ViewPosition": "", "ViewCodeSequence": code("R-10226")}, "MLO"),
        ({"ViewCodeSequence": code("399162004")}, "CC"),
        ({"PatientOrientation": "MLO"}, "MLO"),
        ({"PatientOrientation": ["A", "F"]}, None),
        ({}, None),
    ],
)
def test_view(elements: dict[str, Any], found: str | None) -> None:
    assert view(of(**elements)) == found


@pytest.mark.parametrize(
    ("elements", "found"),
    [
        ({"ImageLaterality": "L", "Laterality": "R"}, "L"),
        ({"ImageLaterality": "", "Laterality": "R"}, "R"),
        ({"SharedFunctionalGroupsSequence": [of(FrameAnatomySequence=[of(FrameLaterality="R")])]}, "R"),
        ({"ImageLaterality": "B"}, None),
        ({}, None),
    ],
)
def test_laterality(elements: dict[str, Any], found: str | None) -> None:
    assert laterality(of(**elements)) == found


@pytest.mark.parametrize(
    ("elements", "found"),
    [
        ({"ImagerPixelSpacing": [0.07, 0.08], "PixelSpacing": [1, 1]}, (0.07, 0.08)),
        ({"PixelSpacing": [0.1, 0.2]}, (0.1, 0.2)),
        ({"ImagerPixelSpacing": [0, 0], "NominalScannedPixelSpacing": [0.05, 0.05]}, (0.05, 0.05)),
        ({}, None),
    ],
)
def test_spacing(elements: dict[str, Any], found: tuple[float, float] | None) -> None:
    assert pixel_spacing(of(**elements)) == found


def test_spacing_is_that_of_the_returned_pixels(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", grey_dataset(VALUES, 12, ImagerPixelSpacing=[0.1, 0.2]))
    assert read_mammogram(path)[1]["pixel_spacing"] == pytest.approx((0.1, 0.2))
    assert read_mammogram(path, max_size=16)[1]["pixel_spacing"] == pytest.approx((0.4, 0.8))


def test_identifying_tags_stay_in_the_file(tmp_path: Path) -> None:
    planted = {"PatientName": "Planted^Name", "PatientID": "PLANTED-7", "PatientBirthDate": "19610203"}
    path = write_dicom(tmp_path / "a.dcm", grey_dataset(VALUES, 12, **planted, AccessionNumber="PLANTED-8"))
    text = str(read_mammogram(path)[1])
    assert not any(word in text for word in ("Planted", "PLANTED", "19610203"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"NumberOfFrames": 3}, r"holds 3 frames .*save the frame"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.3"}, "tomosynthesis volume .*synthetic 2-D"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "colour image .*expected MONOCHROME1"),
        ({"Rows": 60000, "Columns": 60000}, "60000 x 60000 pixels .*expected 1 to"),
        ({"Rows": 640}, "cut off: 6144 bytes of 61440"),
        ({"BitsAllocated": 24}, "BitsAllocated is 24"),
    ],
)
def test_what_is_no_mammogram_is_refused_in_words(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    dataset = grey_dataset(VALUES, 12)
    for keyword, value in change.items():
        setattr(dataset, keyword, value)
    with pytest.raises(ValueError, match=rf"a\.dcm cannot be read: .*{words}"):
        read_mammogram(write_dicom(tmp_path / "a.dcm", dataset))


def test_no_pixel_data(tmp_path: Path) -> None:
    dataset = grey_dataset(VALUES, 12)
    del dataset.PixelData
    with pytest.raises(ValueError, match="no pixel data"):
        read_mammogram(write_dicom(tmp_path / "a.dcm", dataset))


@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.JPEG2000Lossless, uid.JPEGLosslessSV1, uid.RLELossless]
)
def test_a_truncated_file_is_refused_wherever_it_was_cut(tmp_path: Path, syntax: str) -> None:
    whole = write_dicom(tmp_path / "a.dcm", grey_dataset(VALUES, 12, syntax)).read_bytes()
    for part in range(1, 20):
        (tmp_path / "cut.dcm").write_bytes(whole[: len(whole) * part // 20])
        with pytest.raises(ValueError, match=r"cut\.dcm cannot be read"):
            read_mammogram(tmp_path / "cut.dcm")


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    dataset = grey_dataset(VALUES, 12, uid.JPEG2000Lossless)
    dataset.Rows = 65
    with pytest.raises(ValueError, match="64 x 48 pixels, the header says 65 x 48"):
        read_mammogram(write_dicom(tmp_path / "a.dcm", dataset))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((3, 4, 5), np.uint8), r"shape \(3, 4, 5\)"),
        (np.full((3, 4), 2.5), "floats from 0 to 1"),
        (np.zeros((3, 4), np.int64), "int64"),
        (np.array([[None]], object), "Python objects"),
    ],
)
def test_arrays_that_say_no_range_are_refused(tmp_path: Path, values: np.ndarray, words: str) -> None:
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(ValueError, match=words):
        read_mammogram(tmp_path / "a.npy")


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is gone"):
        read_mammogram(tmp_path / "a.dcm")


def test_a_codestream_says_what_it_is(tmp_path: Path) -> None:
    from common.data.dicom.stored import encapsulated_frame

    frame, header = encapsulated_frame(grey_dataset(VALUES - 100, 12, uid.JPEG2000Lossless))
    assert header is not None and (header.rows, header.columns, header.precision) == (64, 48, 12)
    assert header.signed and header.tiles == 1 and header.levels > 0
    with pytest.raises(ValueError, match="cut off"):
        parse(frame[: len(frame) // 2])
    with pytest.raises(ValueError, match="damaged"):
        parse(frame[:20])
    assert parse(b"\x01\x00\x00\x00") is None


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
def test_a_bare_data_set_without_preamble(tmp_path: Path, syntax: str) -> None:
    dataset = grey_dataset(VALUES, 12, syntax, WindowCenter=2048, WindowWidth=4096)
    del dataset.file_meta
    dataset.save_as(tmp_path / "old.dcm", implicit_vr=syntax == uid.ImplicitVRLittleEndian, little_endian=True)
    np.testing.assert_allclose(read_mammogram(tmp_path / "old.dcm")[0], VALUES / 4095, atol=1e-6)


def test_what_is_called_dicom_and_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"no DICOM at all" * 30)
    with pytest.raises(ValueError, match="is no DICOM file"):
        read_mammogram(tmp_path / "a.dcm")

"""Mask and crop are told apart by content, wherever a downloader put them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.data.cbis_files import abnormality_files, index_cases, is_mask, mammogram_file, read_stored
from common.data.dicom.write import grey_dataset, write_dicom
from common.data.mammogram import read_mammogram

SHAPE, CASE = (80, 60), "Mass-Training_P_00001_LEFT_CC"
GREY = np.random.default_rng(0).integers(0, 4000, SHAPE)
MASK = np.zeros(SHAPE, int)
MASK[20:40, 10:30] = 255
CROP = GREY[15:45, 5:35]
LAYOUTS = {
    "UIDs of the CSV": ("1.3.6.1/1.3.6.2", "000000.dcm", "000001.dcm"),
    "classic": ("10-04-2016-DDSM-75139/1-ROI mask images-21596", "000000.dcm", "000001.dcm"),
    "retriever": ("04-10-2016-NA-12345/1.000000-ROI mask images-21596", "1-1.dcm", "1-2.dcm"),
}


def write(path: Path, values: np.ndarray) -> Path:
    return write_dicom(path, grey_dataset(values, 16))


def abnormality(folder: Path, *pictures: np.ndarray) -> list[Path]:
    return [write(folder / f"{n}.dcm", values) for n, values in enumerate(pictures)]


@pytest.mark.parametrize("swapped", [False, True], ids=["in order", "swapped"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_and_swapped_files(layout: str, swapped: bool, tmp_path: Path) -> None:
    inner, *names = LAYOUTS[layout]
    write(tmp_path / "manifest" / "CBIS-DDSM" / CASE / inner / names[0], GREY)
    for name, values in zip(names, (MASK, CROP) if swapped else (CROP, MASK), strict=True):
        write(tmp_path / "manifest" / "CBIS-DDSM" / f"{CASE}_1" / inner / name, values)
    cases = index_cases(tmp_path)
    assert set(cases) == {CASE, f"{CASE}_1"}
    assert np.array_equal(read_stored(mammogram_file(cases[CASE])), GREY)
    found = abnormality_files(cases[f"{CASE}_1"], SHAPE)
    assert np.array_equal(found.mask, MASK > 0) and not found.remarks
    assert found.crop_path is not None and np.array_equal(read_stored(found.crop_path), CROP)


def test_a_mask_of_another_size_is_mended_and_said(tmp_path: Path) -> None:
    found = abnormality_files(abnormality(tmp_path, MASK[::2, ::2], CROP), SHAPE)
    assert found.mask.shape == SHAPE and (found.mask != (MASK > 0)).mean() < 0.02
    assert found.remarks == ["mask of (40, 30) enlarged to (80, 60)"]


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ([CROP, GREY], "none of 2 files is a mask"),
        ([np.zeros(SHAPE, int), CROP], "the mask is all black"),
        ([MASK, np.roll(MASK, 9), CROP], "2 different masks for one abnormality"),
        ([MASK[:, :30], CROP], "of other proportions"),
        ([], "files of mask and crop are missing"),
    ],
    ids=["a crop for a mask", "black", "two masks", "half a mask", "missing"],
)
def test_what_cannot_be_used_has_a_reason(pictures, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        abnormality_files(abnormality(tmp_path, *pictures), SHAPE)


@pytest.mark.parametrize(
    ("pictures", "remark"),
    [
        ([MASK], "no crop"),
        ([MASK, MASK, CROP], "several equal masks"),
        ([MASK, np.tile(GREY, (2, 2))], "crop larger than its mammogram: left out"),
    ],
    ids=["no crop", "twice", "large crop"],
)
def test_what_is_odd_is_used_and_remarked_on(pictures, remark: str, tmp_path: Path) -> None:
    found = abnormality_files(abnormality(tmp_path, *pictures), SHAPE)
    assert np.array_equal(found.mask, MASK > 0) and found.remarks == [remark]


def test_a_damaged_or_missing_mammogram_has_a_reason(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="file is missing"):
        mammogram_file([])
    (tmp_path / "a.dcm").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a\.dcm cannot be read"):
        abnormality_files([tmp_path / "a.dcm"], SHAPE)
    with pytest.raises(FileNotFoundError, match="holds no folder such as"):
        index_cases(tmp_path)


def test_the_real_cases_are_crops_in_mask_folders(real_data: Path) -> None:
    cases = index_cases(real_data / "cbis" / "tcia_sample")
    assert set(cases) == {"Mass-Test_P_00116_RIGHT_MLO_1", "Mass-Test_P_00116_RIGHT_MLO_2"}
    full, _ = read_mammogram(real_data / "cbis" / "full_png" / "Mass-Test_P_00116_RIGHT_MLO.png")
    for files in cases.values():
        assert not is_mask(read_stored(files[0]))
        with pytest.raises(ValueError, match="none of 1 files is a mask"):
            abnormality_files(files, (full.shape[0], full.shape[1]))

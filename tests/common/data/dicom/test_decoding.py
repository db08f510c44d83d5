"""The decoding suite: every kind of DICOM that a mammogram comes in, against a reference worked out by hand."""

from __future__ import annotations

from itertools import product
from math import exp
from pathlib import Path
from typing import Any

import itk
import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, uid

from common.data.dicom.write import grey_dataset, write_dicom
from common.data.mammogram import read_mammogram

NATIVE = {
    "implicit": uid.ImplicitVRLittleEndian,
    "explicit": uid.ExplicitVRLittleEndian,
    "big endian": uid.ExplicitVRBigEndian,
    "deflated": uid.DeflatedExplicitVRLittleEndian,
}
LOSSLESS = {
    **NATIVE,
    "RLE": uid.RLELossless,
    "JPEG lossless .57": uid.JPEGLossless,
    "JPEG lossless .70": uid.JPEGLosslessSV1,
    "JPEG-LS": uid.JPEGLSLossless,
    "JPEG 2000 .90": uid.JPEG2000Lossless,
}
LOSSY = {
    "JPEG baseline": (uid.JPEGBaseline8Bit, 8),
    "JPEG extended": (uid.JPEGExtended12Bit, 12),
    "JPEG-LS near": (uid.JPEGLSNearLossless, 12),
    "JPEG 2000 .91": (uid.JPEG2000, 12),
}


def picture(bits: int, signed: bool) -> np.ndarray:
    """An asymmetric ramp with a bright corner over the whole range of the stored values."""
    rows, columns = np.mgrid[:21, :34]
    values = (rows * 34 + columns) * ((1 << bits) - 1) // (21 * 34 - 1)
    values[2:5, 25:32] = (1 << bits) - 1
    return values - (1 << (bits - 1)) if signed else values


def linear(x: float, centre: float, width: float) -> float:
    """PS3.3 C.11.2.1.2.1, word for word, for an output from 0 to 1."""
    if x <= centre - 0.5 - (width - 1) / 2:
        return 0.0
    if x > centre - 0.5 + (width - 1) / 2:
        return 1.0
    return (x - (centre - 0.5)) / (width - 1) + 0.5


def linear_exact(x: float, centre: float, width: float) -> float:
    """PS3.3 C.11.2.1.3.2."""
    return min(max((x - centre) / width + 0.5, 0.0), 1.0)


def sigmoid(x: float, centre: float, width: float) -> float:
    """PS3.3 C.11.2.1.3.1."""
    return 1 / (1 + exp(-4 * (x - centre) / width))


FUNCTIONS = {"LINEAR": linear, "LINEAR_EXACT": linear_exact, "SIGMOID": sigmoid}


def expected(stored: np.ndarray, function: str, centre: float, width: float, inverted: bool) -> np.ndarray:
    grey = np.array([[FUNCTIONS[function](float(x), centre, width) for x in row] for row in stored])
    return 1 - grey if inverted else grey


def read(tmp_path: Path, dataset: Dataset, **options: Any) -> tuple[np.ndarray, dict]:
    return read_mammogram(write_dicom(tmp_path / "a.dcm", dataset), **options)


def window_of(bits: int, signed: bool, function: str) -> dict[str, Any]:
    """A window over the middle half of the range."""
    middle = 0 if signed else 1 << (bits - 1)
    return {"WindowCenter": middle + 10, "WindowWidth": 1 << (bits - 1), "VOILUTFunction": function}


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_lossless_syntaxes_are_read_to_the_bit(tmp_path: Path, syntax: str, bits: int) -> None:
    for signed, function, polarity in product((False, True), FUNCTIONS, ("MONOCHROME1", "MONOCHROME2")):
        stored, voi = picture(bits, signed), window_of(bits, signed, function)
        dataset = grey_dataset(stored, bits, LOSSLESS[syntax], PhotometricInterpretation=polarity, **voi)
        image, facts = read(tmp_path, dataset)
        truth = expected(stored, function, voi["WindowCenter"], voi["WindowWidth"], polarity == "MONOCHROME1")
        np.testing.assert_allclose(image, truth, atol=2e-6, err_msg=f"{signed=} {function=} {polarity=}")
        assert image.dtype == np.float32 and facts["photometric_interpretation"] == polarity
        assert facts["source_shape"] == (21, 34) and facts["voi"].startswith(function)


@pytest.mark.parametrize("syntax", LOSSY)
def test_lossy_syntaxes_are_read_within_their_loss(tmp_path: Path, syntax: str) -> None:
    kind, bits = LOSSY[syntax]
    stored, voi = picture(bits, False), window_of(bits, False, "LINEAR")
    image, _ = read(tmp_path, grey_dataset(stored, bits, kind, **voi))
    truth = expected(stored, "LINEAR", voi["WindowCenter"], voi["WindowWidth"], False)
    assert np.abs(image - truth).mean() < 0.02


@pytest.mark.parametrize("syntax", ["explicit", "JPEG lossless .70", "JPEG-LS", "JPEG 2000 .90"])
def test_gdcm_stores_the_same_values(tmp_path: Path, syntax: str) -> None:
    """An independent decoder: ITK's GDCM reads the stored values, our reader shows them over their full range."""
    stored = picture(12, False)
    path = write_dicom(
        tmp_path / "a.dcm", grey_dataset(stored, 12, LOSSLESS[syntax], WindowCenter=2048, WindowWidth=4096)
    )
    theirs = itk.array_from_image(itk.imread(str(path))).squeeze()
    np.testing.assert_allclose(read_mammogram(path)[0], theirs / 4095, atol=1e-6)


FULL = {"WindowCenter": 2048, "WindowWidth": 4096}  # LINEAR: x / 4095
SIGNED_FULL = {"WindowCenter": 0, "WindowWidth": 4096}  # LINEAR: (x + 2048) / 4095


@pytest.mark.parametrize(
    "syntax", [uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.JPEGLosslessSV1, uid.ExplicitVRLittleEndian]
)
def test_unsigned_words_under_a_signed_header_are_twos_complement(tmp_path: Path, syntax: str) -> None:
    """What some devices write, and pydicom's issue 1149 is about: the sign is in the header, not in the stream."""
    values = picture(12, True)
    dataset = grey_dataset(values & 0xFFF, 12, syntax, PixelRepresentation=1, **SIGNED_FULL)
    np.testing.assert_allclose(read(tmp_path, dataset)[0], (values + 2048) / 4095, atol=1e-6)


def test_a_signed_stream_under_an_unsigned_header_keeps_its_bits(tmp_path: Path) -> None:
    values = picture(12, True)
    dataset = grey_dataset(values, 12, uid.JPEG2000Lossless, PixelRepresentation=0, **FULL)
    np.testing.assert_allclose(read(tmp_path, dataset)[0], (values & 0xFFF) / 4095, atol=1e-6)


@pytest.mark.parametrize(("precision", "said"), [(12, 16), (16, 12), (12, 14)])
@pytest.mark.parametrize("signed", [False, True])
def test_a_precision_that_disagrees_with_the_header(tmp_path: Path, precision: int, said: int, signed: bool) -> None:
    values = picture(12, signed)
    header = {"BitsStored": said, "HighBit": said - 1, **(SIGNED_FULL if signed else FULL)}
    dataset = grey_dataset(values, 12, uid.JPEG2000Lossless, precision=precision, **header)
    np.testing.assert_allclose(read(tmp_path, dataset)[0], (values + 2048 * signed) / 4095, atol=1e-6)


@pytest.mark.parametrize("signed", [False, True])
def test_overlay_bits_above_the_stored_ones_are_left_out(tmp_path: Path, signed: bool) -> None:
    values = picture(12, signed)
    words = (values & 0xFFF) | 0x5000
    dataset = grey_dataset(words, 12, PixelRepresentation=int(signed), **(SIGNED_FULL if signed else FULL))
    np.testing.assert_allclose(read(tmp_path, dataset)[0], (values + 2048 * signed) / 4095, atol=1e-6)


def test_high_bit_above_the_lowest_twelve(tmp_path: Path) -> None:
    values = picture(12, False)
    dataset = grey_dataset(values << 4, 12, HighBit=15, **FULL)
    np.testing.assert_allclose(read(tmp_path, dataset)[0], values / 4095, atol=1e-6)


def test_rescale_comes_before_the_window(tmp_path: Path) -> None:
    stored = picture(12, False)
    voi = {"RescaleSlope": "0.5", "RescaleIntercept": "-100", "WindowCenter": 600, "WindowWidth": 900}
    truth = expected(stored * 0.5 - 100, "LINEAR", 600, 900, False)
    np.testing.assert_allclose(read(tmp_path, grey_dataset(stored, 12, **voi))[0], truth, atol=1e-6)


def table(first: int, entries: list[int], bits: int, name: str = "") -> Dataset:
    item = Dataset()
    item.add_new(0x00283002, "US", [len(entries) % 65536, first, bits])
    item.add_new(0x00283006, "US", entries)
    if name:
        item.LUTExplanation = name
    return item


def test_a_modality_table_replaces_rescale(tmp_path: Path) -> None:
    stored = np.array([[0, 5, 6], [7, 8, 200]])
    lut = table(5, [10, 20, 40, 80], 8)
    dataset = grey_dataset(
        stored, 8, ModalityLUTSequence=[lut], WindowCenter=50, WindowWidth=100, VOILUTFunction="LINEAR_EXACT"
    )
    truth = np.array([[10, 10, 20], [40, 80, 80]]) / 100  # what lies beyond an end takes the entry there
    np.testing.assert_allclose(read(tmp_path, dataset)[0], truth, atol=1e-6)


@pytest.mark.parametrize("polarity", ["MONOCHROME1", "MONOCHROME2"])
def test_a_voi_table_is_scaled_by_its_bits_and_goes_before_a_window(tmp_path: Path, polarity: str) -> None:
    stored = np.array([[0, 100], [101, 102]])
    lut = table(100, [0, 600, 1023], 10)
    dataset = grey_dataset(stored, 12, VOILUTSequence=[lut], PhotometricInterpretation=polarity, **FULL)
    truth = np.array([[0, 0], [600, 1023]]) / 1023
    image, facts = read(tmp_path, dataset)
    np.testing.assert_allclose(image, 1 - truth if polarity == "MONOCHROME1" else truth, atol=1e-6)
    assert facts["voi"].startswith("LUT")


def test_the_first_window_or_the_named_one(tmp_path: Path) -> None:
    stored = picture(12, False)
    voi = {"WindowCenter": [1000, 2048], "WindowWidth": [500, 4096], "WindowCenterWidthExplanation": ["HARDER", "FULL"]}
    dataset = grey_dataset(stored, 12, VOILUTSequence=[], **voi)
    first, full = expected(stored, "LINEAR", 1000, 500, False), stored / 4095
    np.testing.assert_allclose(read(tmp_path, dataset)[0], first, atol=1e-6)
    np.testing.assert_allclose(read(tmp_path, dataset, window="FULL")[0], full, atol=1e-6)
    np.testing.assert_allclose(read(tmp_path, dataset, window=1)[0], full, atol=1e-6)
    with pytest.raises(ValueError, match=r"no VOI window named 'SOFT' \(it has \['FULL', 'HARDER'\]\)"):
        read(tmp_path, dataset, window="SOFT")


@pytest.mark.parametrize("width", ["0", "-5"])
def test_a_window_that_no_width_is_left_aside(tmp_path: Path, width: str) -> None:
    dataset = grey_dataset(picture(12, False), 12, WindowCenter="100", WindowWidth=width)
    assert read(tmp_path, dataset)[1]["voi"].startswith("percentiles")


@pytest.mark.parametrize("polarity", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_in_either_polarity(tmp_path: Path, polarity: str) -> None:
    stored = picture(12, False)
    stored[:, :4], stored[-2:, :] = 4000, 4090
    pad = {"PixelPaddingValue": 4000, "PixelPaddingRangeLimit": 4095}
    image, _ = read(tmp_path, grey_dataset(stored, 12, PhotometricInterpretation=polarity, **pad, **FULL))
    assert (image[:, :4] == 0).all() and (image[-2:] == 0).all()
    assert image[10, 20] == pytest.approx(abs((polarity == "MONOCHROME1") - stored[10, 20] / 4095), abs=1e-6)


def test_a_padding_value_of_the_wrong_sign(tmp_path: Path) -> None:
    stored = picture(12, True)
    stored[:, 0] = -2000
    dataset = grey_dataset(stored, 12, **SIGNED_FULL)
    dataset.add_new(0x00280120, "US", 65536 - 2000)
    image, _ = read(tmp_path, dataset)
    assert (image[:, 0] == 0).all() and image[10, 10] > 0.3


@pytest.mark.parametrize("polarity", ["MONOCHROME1", "MONOCHROME2"])
def test_without_a_window_the_breast_fills_the_range(tmp_path: Path, polarity: str) -> None:
    """Background of 9 in 10 pixels must not take part in the percentiles; one dead pixel must not stretch them."""
    rng = np.random.default_rng(0)
    stored = np.zeros((100, 100), int)
    stored[:, :30] = rng.integers(1000, 2000, (100, 30))
    stored[50, 90] = 4095
    stored = 4095 - stored if polarity == "MONOCHROME1" else stored
    image, facts = read(tmp_path, grey_dataset(stored, 12, PhotometricInterpretation=polarity))
    breast = image[:, :30]
    assert facts["voi"].startswith("percentiles")
    assert image[:, 30:].max() == 1 and np.median(image[:, 30:]) == 0  # the dead pixel, and the background
    assert 0.45 < breast.mean() < 0.55 and breast.std() > 0.25


def test_png_npy_tiff_nifti_and_dicom_of_one_phantom_are_equal(tmp_path: Path) -> None:
    import nibabel
    import tifffile

    stored = picture(16, False)
    images = {"dcm": read(tmp_path, grey_dataset(stored, 16, WindowCenter=32768, WindowWidth=65536))[0]}
    words = stored.astype(np.uint16)
    Image.fromarray(words).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", words)
    np.save(tmp_path / "a.npy", words)
    np.save(tmp_path / "float.npy", (words / 65535).astype(np.float32))
    nibabel.save(nibabel.Nifti1Image(words.T[..., None], np.diag([0.07, 0.1, 1, 1])), tmp_path / "a.nii.gz")
    for name in ("a.png", "a.tif", "a.npy", "float.npy", "a.nii.gz"):
        images[name] = read_mammogram(tmp_path / name)[0]
    for name, image in images.items():
        assert image.shape == (21, 34) and image.dtype == np.float32, name
        np.testing.assert_allclose(image, stored / 65535, atol=1e-6, err_msg=name)
    assert read_mammogram(tmp_path / "a.nii.gz")[1]["pixel_spacing"] == pytest.approx((0.1, 0.07))
    eight = np.round(stored / 257).astype(np.uint8)
    Image.fromarray(eight).save(tmp_path / "eight.png")
    Image.fromarray(eight).save(tmp_path / "eight.jpg", quality=100)
    np.testing.assert_allclose(read_mammogram(tmp_path / "eight.png")[0], eight / 255, atol=1e-6)
    np.testing.assert_allclose(read_mammogram(tmp_path / "eight.jpg")[0], eight / 255, atol=0.03)


def test_the_nema_mammogram_is_alike_in_both_codecs(real_data: Path) -> None:
    folder = real_data / "dicom"
    (wavelet, facts), (cosine, _) = (read_mammogram(folder / name) for name in ("MG1_J2KI", "MG1_JPLY"))
    assert wavelet.shape == (4664, 3064) and facts["view"] == "MLO" and facts["laterality"] == "L"
    assert np.abs(wavelet - cosine).mean() < 0.005 and np.abs(wavelet - cosine).max() < 0.06


def test_the_crops_of_cbis_are_read_over_their_range(real_data: Path) -> None:
    files = sorted((real_data / "cbis" / "tcia_sample").rglob("*.dcm"))
    for path in files:
        image, facts = read_mammogram(path)
        stored = itk.array_from_image(itk.imread(str(path))).squeeze().astype(float)
        assert (
            facts["view"] == "MLO"
            and facts["laterality"] == "R"
            and facts["photometric_interpretation"] == "MONOCHROME2"
        )
        assert np.corrcoef(image.ravel(), stored.ravel())[0, 1] > 0.99 and image.min() == 0 and image.max() == 1
    for path in (real_data / "cbis" / "full_png").glob("*.png"):
        with Image.open(path) as file:
            values = np.asarray(file)
        scale = 65535 if values.dtype != np.uint8 else 255
        np.testing.assert_allclose(read_mammogram(path)[0], values / scale, atol=1e-6)

"""A reduced decode lies where an area resize of the full image lies."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom import uid

from common.data.dicom import reduced
from common.data.dicom.display import padding_is_dark
from common.data.dicom.write import grey_dataset, write_dicom
from common.data.mammogram import fit, read_mammogram
from common.data.pixels import read_grey

FULL = {"WindowCenter": 2048, "WindowWidth": 4096}


def blobs(rows: int = 512, columns: int = 384) -> np.ndarray:
    """Smooth random structure of 12 bits."""
    noise = np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)
    smooth = sum(cv2.GaussianBlur(noise, (0, 0), s) * s for s in (4, 10, 25))
    return np.clip(2048 + 400 * smooth / smooth.std(), 0, 4095).astype(int)


def shift_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return how far (rows, columns) ``b`` lies from ``a``, by least squares on the gradient."""
    inner = (slice(4, -4), slice(4, -4))
    gradient = np.stack([g[inner].ravel() for g in np.gradient((a + b) / 2)], 1)
    return np.linalg.lstsq(gradient, (a - b)[inner].ravel(), rcond=None)[0]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(max(np.mean((a - b) ** 2), 1e-12)))


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.JPEG2000])
@pytest.mark.parametrize("size", [256, 200, 128, 100, 64, 33, (300, 96)])
def test_it_is_registered_to_the_full_decode(tmp_path: Path, syntax: str, size: int | tuple[int, int]) -> None:
    path = write_dicom(tmp_path / "a.dcm", grey_dataset(blobs(), 12, syntax, **FULL))
    small, full = (read_mammogram(path, max_size=size, exact=exact)[0] for exact in (False, True))
    assert small.shape == full.shape == fit((512, 384), size)
    assert not np.array_equal(small, full)  # the short way was taken
    assert np.abs(shift_between(full, small)).max() < 0.1
    assert psnr(small, full) > 36  # rougher than a mammogram: real ones are held to 38 below


def test_without_the_shift_it_would_lie_beside(tmp_path: Path) -> None:
    """The offset is real: a plain low band at 1/4 lies .375 of its pixels off."""
    values = blobs()
    dataset = grey_dataset(values, 12, uid.JPEG2000Lossless, **FULL)
    from common.data.dicom.stored import encapsulated_frame

    frame, header = encapsulated_frame(dataset)
    assert header is not None
    low = reduced.low_band(frame, header, 2) / 4095
    area = cv2.resize(values / 4095, (96, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(shift_between(area, low)) == pytest.approx([0.375, 0.375], abs=0.1)


def test_weights_of_an_area_resize_add_up_and_keep_the_centre() -> None:
    for source, target, level in ((512, 128, 0), (512, 128, 2), (511, 100, 2), (97, 13, 1)):
        samples = -(-source // 2**level)
        weights = reduced.overlap(source, target, level, samples).toarray()
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
        centres = weights @ (np.arange(samples) * 2.0**level + 0.5)  # of the samples, in source pixels
        wanted = (np.arange(target) + 0.5) * source / target
        assert (np.abs(centres - wanted)[2:-2] * target / source).max() < 0.1  # pixels of the result


def test_level_zero_is_an_area_resize() -> None:
    values = blobs(60, 90).astype(np.float32)
    area = cv2.resize(values, (30, 20), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(reduced.resample(values, 0, (60, 90), (20, 30)), area, rtol=1e-4)


@pytest.mark.parametrize(
    ("syntax", "change"),
    [
        (uid.JPEG2000Lossless, {"PixelRepresentation": 1}),
        (uid.JPEGLosslessSV1, {}),
        (uid.ExplicitVRLittleEndian, {}),
        (uid.JPEG2000Lossless, {"PixelPaddingValue": 3000}),
    ],
    ids=["signed", "JPEG lossless", "uncompressed", "bright padding"],
)
def test_what_is_not_certain_is_decoded_in_full(tmp_path: Path, syntax: str, change: dict) -> None:
    path = write_dicom(tmp_path / "a.dcm", grey_dataset(blobs() // 2, 12, syntax, **{**FULL, **change}))
    small, full = (read_mammogram(path, max_size=128, exact=exact)[0] for exact in (False, True))
    np.testing.assert_array_equal(small, full)


@pytest.mark.parametrize(("value", "dark"), [(0, True), (3000, False), (4095, False)])
def test_padding_that_is_black_anyway_needs_no_full_decode(value: int, dark: bool) -> None:
    window = {"WindowCenter": 2000, "WindowWidth": 3800}
    assert padding_is_dark(grey_dataset(blobs(), 12, PixelPaddingValue=value, **window)) == dark


def test_a_sigmoid_window_and_polarity_go_through_it(tmp_path: Path) -> None:
    voi = {"WindowCenter": 2000, "WindowWidth": 2500, "VOILUTFunction": "SIGMOID"}
    dataset = grey_dataset(blobs(), 12, uid.JPEG2000Lossless, PhotometricInterpretation="MONOCHROME1", **voi)
    path = write_dicom(tmp_path / "a.dcm", dataset)
    small, full = (read_mammogram(path, max_size=128, exact=exact)[0] for exact in (False, True))
    assert psnr(small, full) > 36 and np.abs(shift_between(full, small)).max() < 0.1


@pytest.mark.parametrize("size", [1036, 600, 832])
def test_real_mammograms_keep_38_db(real_data: Path, tmp_path: Path, size: int) -> None:
    paths = [real_data / "dicom" / "MG1_J2KI"]
    for file in sorted((real_data / "cbis" / "full_png").glob("*MLO.png")):
        stored = (read_grey(file) * 4095).round().astype(int)
        paths.append(write_dicom(tmp_path / file.stem, grey_dataset(stored, 12, uid.JPEG2000Lossless, **FULL)))
    for path in paths:
        small, full = (read_mammogram(path, max_size=size, exact=exact)[0] for exact in (False, True))
        assert psnr(small, full) > 38 and np.abs(shift_between(full, small)).max() < 0.1

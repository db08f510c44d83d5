from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.data.pixels import read_grey, read_mask

ASYMMETRIC = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20  # no row, column or diagonal repeats


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA"])
def test_every_mode_of_png_reads_alike(tmp_path: Path, mode: str) -> None:
    Image.fromarray(ASYMMETRIC).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_grey(tmp_path / "a.png"), ASYMMETRIC / 255, atol=1e-6)


def test_sixteen_bits_keep_their_depth(tmp_path: Path) -> None:
    values = ASYMMETRIC.astype(np.uint16) * 257 + 1
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_grey(tmp_path / "a.png"), values / 65535, atol=1e-7)


def test_colour_becomes_luma(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2, 3), (200, 100, 50), np.uint8)).save(tmp_path / "a.png")
    assert read_grey(tmp_path / "a.png")[0, 0] == pytest.approx(
        (0.299 * 200 + 0.587 * 100 + 0.114 * 50) / 255, abs=1e-5
    )


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA"])
def test_masks_of_every_mode(tmp_path: Path, mode: str) -> None:
    mask = ASYMMETRIC > 100
    Image.fromarray(mask).convert(mode).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), mask)


def test_dicom_and_png_of_one_picture_are_equal(tmp_path: Path, write_ultrasound) -> None:
    Image.fromarray(ASYMMETRIC).save(tmp_path / "a.png")
    grey = read_grey(write_ultrasound(tmp_path / "a.dcm", ASYMMETRIC))
    inverted = read_grey(write_ultrasound(tmp_path / "b.dcm", 255 - ASYMMETRIC, "MONOCHROME1"))
    colour = read_grey(write_ultrasound(tmp_path / "c.dcm", np.repeat(ASYMMETRIC[..., None], 3, 2), "RGB"))
    for picture in (grey, inverted, colour):
        np.testing.assert_allclose(picture, read_grey(tmp_path / "a.png"), atol=1e-6)
        assert picture.dtype == np.float32


def test_several_frames_are_refused_with_the_remedy(tmp_path: Path, write_ultrasound) -> None:
    path = write_ultrasound(tmp_path / "cine.dcm", np.stack([ASYMMETRIC] * 2), frames=2)
    with pytest.raises(ValueError, match=r"cine\.dcm.*2 frames.*file of its own"):
        read_grey(path)


@pytest.mark.parametrize("content", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n\0\0"], ids=["empty", "text", "cut"])
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.png"):
        read_grey(tmp_path / "bad.png")


def test_a_gone_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        read_grey(tmp_path / "gone.png")

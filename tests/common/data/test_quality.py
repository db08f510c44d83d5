from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data as photographs

from common.data.mammogram import read_mammogram
from common.data.mammogram_phantoms import DENSITIES, Breast, draw_mammogram
from common.data.quality import quality_flags
from common.data.ultrasound_phantoms import draw_scene, scan


def mammogram(laterality: str = "L", view: str = "MLO", density: str = "B", implant: bool = False, size: float = 0.5):
    rng = np.random.default_rng(1)
    return draw_mammogram(Breast(laterality, density, size, None, implant), view, (832, 640), rng).picture


@pytest.mark.parametrize("view", ["CC", "MLO"])
@pytest.mark.parametrize("laterality", ["L", "R"])
@pytest.mark.parametrize("density", DENSITIES)
def test_a_good_mammogram_has_no_flags(view: str, laterality: str, density: str) -> None:
    assert quality_flags(mammogram(laterality, view, density), laterality) == []


CASES = {
    "black": (np.zeros((300, 200)), ["not_a_mammogram", "no_breast"]),
    "grey": (np.full((300, 200), 0.4), ["not_a_mammogram", "no_breast"]),
    "one pixel": (np.ones((1, 1)), ["not_a_mammogram", "no_breast"]),
    "a speck": (np.pad(np.ones((4, 4)), 150), ["no_breast"]),
    "photograph": (photographs.camera() / 255, ["not_a_mammogram"]),
    "dark text": (photographs.page() / 255, ["not_a_mammogram", "inverted"]),
    "inverted": (1 - mammogram(), ["not_a_mammogram", "inverted"]),
    "other side": (mammogram("R"), ["laterality_disagreement"]),
}


@pytest.mark.parametrize(("image", "flags"), CASES.values(), ids=CASES)
def test_what_is_odd_is_flagged(image: np.ndarray, flags: list[str]) -> None:
    assert quality_flags(image.astype(np.float32), "L") == flags


def test_a_breast_cut_off_by_both_sides_is_flagged() -> None:
    picture = np.zeros((400, 300), np.float32)
    cv2.ellipse(picture, (0, 200), (340, 180), 0, 0, 360, 0.5, -1)
    assert "breast_cut_off" in quality_flags(picture)


@pytest.mark.parametrize("view", ["CC", "MLO"])
def test_an_implant_is_flagged_by_the_picture_and_by_the_tag(view: str) -> None:
    assert quality_flags(mammogram(view=view, implant=True)) == ["implant"]
    assert quality_flags(mammogram(view=view, implant=True), implant=False) == []
    assert quality_flags(mammogram(view=view), implant=True) == ["implant"]


def test_ultrasound_phantoms_are_no_mammograms() -> None:
    flagged = []
    for seed, label in enumerate(["benign", "malignant", "normal"] * 5):
        rng = np.random.default_rng(seed)
        picture = np.asarray(scan(draw_scene(label, rng), rng), np.float32)
        flagged.append("not_a_mammogram" in quality_flags(picture / picture.max()))
    assert np.mean(flagged) > 0.9


def test_real_ultrasound_is_told_from_real_mammograms(real_data: Path) -> None:
    ultrasound = [f for f in sorted((real_data / "busi").glob("*/*.png")) if "_mask" not in f.stem][::12]
    flagged = ["not_a_mammogram" in quality_flags(read_mammogram(path)[0]) for path in ultrasound]
    assert np.mean(flagged) > 0.9
    films = [*(real_data / "mias").glob("*.png"), *(real_data / "ddsm_tissue" / "images").glob("*.png")]
    assert len(films) == 31 and all(quality_flags(read_mammogram(path)[0]) == [] for path in films)

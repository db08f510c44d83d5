"""Where the breast and the muscle are: phantoms always, and labelled films where they lie at REAL_DATA_DIR."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from common.data.breast import bounding_box, breast_mask, chest_wall_side
from common.data.mammogram import read_mammogram
from common.data.mammogram_phantoms import DENSITIES, Breast, Mammogram, draw_mammogram
from common.data.pectoral import find_pectoral, pectoral_mask

SHAPE = (832, 640)


def phantom(view: str = "MLO", laterality: str = "L", density: str = "B", seed: int = 0, **facts) -> Mammogram:
    return draw_mammogram(Breast(laterality, density, 0.6, None, **facts), view, SHAPE, np.random.default_rng(seed))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))


@pytest.mark.parametrize("view", ["CC", "MLO"])
@pytest.mark.parametrize("laterality", ["L", "R"])
@pytest.mark.parametrize("density", DENSITIES)
def test_the_breast_of_a_phantom_is_found_with_its_chest_wall(view: str, laterality: str, density: str) -> None:
    drawn = phantom(view, laterality, density)
    mask = breast_mask(drawn.picture)
    assert mask.dtype == bool and mask.shape == SHAPE
    assert iou(mask, drawn.breast) > 0.95
    assert chest_wall_side(mask) == {"L": "left", "R": "right"}[laterality]
    wall = mask[:, 0 if laterality == "L" else -1]
    true_wall = drawn.breast[:, 0 if laterality == "L" else -1]
    assert wall[true_wall].mean() > 0.95  # nothing of the chest wall is lost


def film(picture: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Make a phantom a film: fog, grain, a label, tape, a white edge; return it with the mask of what was added."""
    rng = np.random.default_rng(seed)
    added = np.zeros(picture.shape, np.uint8)
    cv2.rectangle(added, (500, 60), (600, 130), 1, -1)
    cv2.line(added, (560, 700), (639, 780), 1, 14)
    cv2.rectangle(added, (632, 0), (639, 831), 1, -1)
    aged = 0.06 + 0.9 * picture + rng.normal(0, 0.01, picture.shape)
    return np.clip(np.where(added, 0.97, aged), 0, 1).astype(np.float32), added.astype(bool)


def test_labels_tape_edges_and_fog_of_film_are_no_breast() -> None:
    drawn = draw_mammogram(Breast("L", "B", 0.3, None), "MLO", SHAPE, np.random.default_rng(3))
    picture, added = film(drawn.picture)
    mask = breast_mask(picture)
    assert not (mask & added & ~drawn.breast).any()
    assert iou(mask, drawn.breast) > 0.93


@pytest.mark.parametrize("brightness", [0.95, 0.85])
def test_tape_across_the_top_of_the_breast_is_cut_off(brightness: float) -> None:
    drawn = draw_mammogram(Breast("L", "B", 0.9, None), "MLO", SHAPE, np.random.default_rng(3))
    taped = drawn.picture.copy()
    taped[:40, :420] = brightness
    mask = breast_mask(taped)
    assert not mask[:32].any() and iou(mask[60:], drawn.breast[60:]) > 0.95


def test_a_breast_that_touches_three_borders_is_kept_whole() -> None:
    picture = np.full((400, 300), 0.5, np.float32)
    picture[:, 220:] = 0.0
    mask = breast_mask(picture)
    assert mask[:, :215].all() and not mask[:, 225:].any()
    assert chest_wall_side(mask) == "left" or mask.mean() > 0.7


def test_brightness_does_not_matter() -> None:
    drawn = phantom("CC")
    assert iou(breast_mask(drawn.picture * 0.3), breast_mask(drawn.picture)) > 0.93


@pytest.mark.parametrize(
    "image",
    [np.zeros((60, 40)), np.full((60, 40), 0.7), np.ones((1, 1)), np.zeros((1, 500)), np.zeros((500, 1))],
    ids=["black", "grey", "one pixel", "one row", "one column"],
)
def test_an_empty_frame_has_no_breast(image: np.ndarray) -> None:
    assert not breast_mask(image.astype(np.float32)).any()
    assert pectoral_mask(image.astype(np.float32)) is None


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((50, 50), np.nan), "NaN"),
        (np.where(np.eye(50) > 0, np.inf, 0.2), "infinite"),
        (np.zeros((3, 50, 50)), "one grey image"),
        (np.zeros((0, 50)), "one grey image"),
    ],
    ids=["NaN", "infinite", "three channels", "empty"],
)
def test_what_is_no_image_is_refused(image: np.ndarray, words: str) -> None:
    for look in (breast_mask, pectoral_mask):
        with pytest.raises(ValueError, match=words):
            look(image)


def test_a_very_wide_image_is_searched_as_well() -> None:
    picture = np.zeros((400, 20_000), np.float32)
    cv2.ellipse(picture, (0, 200), (9000, 190), 0, 0, 360, 0.6, -1)
    assert iou(breast_mask(picture), picture > 0) > 0.9


@pytest.mark.parametrize("laterality", ["L", "R"])
def test_the_muscle_of_a_phantom_is_found(laterality: str) -> None:
    drawn = phantom("MLO", laterality, "A", seed=1)
    mask = pectoral_mask(drawn.picture, "MLO", laterality)
    assert mask is not None and dice(mask, drawn.pectoral) > 0.85
    assert (mask & ~drawn.pectoral).sum() <= 0.01 * (drawn.breast & ~drawn.pectoral).sum()


def test_over_many_phantoms_little_breast_is_taken_for_muscle() -> None:
    taken = []
    for seed in range(24):
        drawn = phantom("MLO", "LR"[seed % 2], DENSITIES[seed % 4], seed)
        mask, rest = pectoral_mask(drawn.picture, "MLO"), drawn.breast & ~drawn.pectoral
        taken.append(0.0 if mask is None else (mask & rest).sum() / rest.sum())
    assert np.mean(taken) <= 0.01 and max(taken) <= 0.1


@pytest.mark.parametrize("view", ["CC", "ML", "LM", "AT", None, "somewhere"])
def test_only_mlo_views_are_searched_for_muscle(view: str | None) -> None:
    found = find_pectoral(phantom("MLO", density="A").picture, view)
    assert found.mask is None and "not MLO" in found.reason


def test_without_an_edge_there_is_none_rather_than_a_guess() -> None:
    drawn = phantom("CC")
    found = find_pectoral(drawn.picture, "MLO")
    assert found.mask is None and found.reason


def labelled(real_data: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    folder = real_data / "ddsm_tissue"
    pairs = [(f, folder / "labels" / f"{f.stem}_LI.png") for f in sorted((folder / "images").glob("*.png"))]
    return [(read_mammogram(image)[0], np.asarray(Image.open(label))) for image, label in pairs]


def test_breasts_on_labelled_films(real_data: Path) -> None:
    scores = [iou(breast_mask(image), label != 64) for image, label in labelled(real_data)]
    assert np.mean(scores) > 0.955 and min(scores) > 0.9


def test_muscles_on_labelled_films(real_data: Path) -> None:
    scores, taken = [], []
    for image, label in labelled(real_data):
        mask, rest = pectoral_mask(image), (label != 64) & (label != 255)
        scores.append(0.0 if mask is None else dice(mask, label == 255))
        taken.append(0.0 if mask is None else (mask & rest).sum() / rest.sum())
    assert np.mean(scores) >= 0.85 and np.mean(taken) <= 0.01 and max(taken) <= 0.1


def lesions(real_data: Path) -> list[tuple[str, float, float, float]]:
    rows = [line.split() for line in (real_data / "mias" / "labels.txt").read_text().splitlines()]
    return [(row[0], *map(float, row[4:7])) for row in rows if len(row) >= 7]  # type: ignore[misc]


def test_the_tissue_of_every_lesion_of_mias_is_kept(real_data: Path) -> None:
    for name, x, y, radius in lesions(real_data):
        image = read_mammogram(real_data / "mias" / f"{name}.png")[0]
        rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
        circle = np.hypot(rows - (image.shape[0] - y), columns - x) <= radius  # the origin is at the bottom left
        tissue = circle & (image > 0.1)
        assert breast_mask(image)[tissue].all(), name
        muscle = pectoral_mask(image)
        assert muscle is None or (muscle & tissue).sum() <= 0.1 * tissue.sum(), name


@pytest.mark.parametrize(("name", "rows"), [("mdb289", slice(0, 40)), ("mdb145", slice(0, 0))])
def test_tape_and_white_edges_of_mias_are_no_breast(real_data: Path, name: str, rows: slice) -> None:
    image = read_mammogram(real_data / "mias" / f"{name}.png")[0]
    mask = breast_mask(image)
    assert not mask[rows].any() and not mask[:, :120].any()


def test_nothing_is_removed_from_real_cc_views(real_data: Path) -> None:
    for path in (real_data / "cbis" / "full_png").glob("*_CC*.png"):
        assert pectoral_mask(read_mammogram(path)[0], "CC") is None


def test_boxes_of_masks() -> None:
    mask = np.zeros((10, 20), bool)
    assert bounding_box(mask) is None and chest_wall_side(mask) is None
    mask[2:5, 3:9] = True
    assert bounding_box(mask) == (2, 5, 3, 9)

"""Planted copies are found, strangers stay apart."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from common.data.files import sha256
from common.data.near_duplicates import find_pairs, fingerprint, group
from common.data.pixels import read_grey
from common.data.ultrasound_phantoms import draw_scene, scan


def reencode(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(np.round(image * 255).astype(np.uint8)).save(buffer, format="JPEG", quality=60)
    return np.asarray(Image.open(buffer), np.float32) / 255


def rescale(image: np.ndarray) -> np.ndarray:
    return np.clip(cv2.resize(image, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA), 0, 1)


def crop(image: np.ndarray) -> np.ndarray:
    height, width = image.shape
    return np.ascontiguousarray(image[height // 20 : -(height // 20), width // 20 : -(width // 20)])


def calipers(image: np.ndarray) -> np.ndarray:
    marked = np.round(image * 255).astype(np.uint8)
    height, width = marked.shape
    for x, y in ((0.3, 0.4), (0.7, 0.5), (0.5, 0.3), (0.5, 0.7)):
        cv2.drawMarker(marked, (int(x * width), int(y * height)), 255, cv2.MARKER_CROSS, 15, 2)
    cv2.line(marked, (int(0.3 * width), int(0.4 * height)), (int(0.7 * width), int(0.5 * height)), 255, 1)
    cv2.putText(marked, "RT UOQ", (10, height - 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 2)
    return marked / np.float32(255)


KINDS = {f.__name__: f for f in (reencode, rescale, crop, calipers)}


def check(images: list[np.ndarray], copy: Callable[[np.ndarray], np.ndarray], known: set[tuple[int, int]]) -> None:
    """Plant a copy of each image; hold recall at .95 and false merges of distinct images at 1 %."""
    number = len(images)
    prints = [fingerprint(i) for i in [*images, *map(copy, images)]]
    pairs = set(find_pairs(prints, workers=2))
    recall = np.mean([(i, i + number) in pairs for i in range(number)])
    strangers = {tuple(sorted((i % number, j % number))) for i, j in pairs if i % number != j % number} - known
    assert recall >= 0.95
    assert len({i for pair in strangers for i in pair}) <= 0.01 * number + 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_planted_copies_of_phantoms(kind: str) -> None:
    rng = np.random.default_rng(1)
    labels = ["benign", "malignant", "normal"] * 5
    check([scan(draw_scene(label, rng), rng) / np.float32(255) for label in labels], KINDS[kind], set())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_planted_copies_of_real_images(kind: str, real_data: Path) -> None:
    """Real pairs exist among the images themselves; what joins two originals is left out of the strangers."""
    files = sorted(f for f in (real_data / "busi").glob("*/*.png") if "_mask" not in f.stem)[::9]
    images = [read_grey(file) for file in files]
    known = set(find_pairs([fingerprint(image) for image in images], workers=2))
    check(images, KINDS[kind], known)


def test_byte_identical_images_of_the_real_set_are_pairs(real_data: Path) -> None:
    by_bytes = defaultdict(list)
    for file in sorted(f for f in (real_data / "busi").glob("*/*.png") if "_mask" not in f.stem):
        by_bytes[sha256([file.read_bytes()])].append(file)
    twins = [file for files in by_bytes.values() if len(files) == 2 for file in files]
    strangers = [files[0] for files in by_bytes.values() if len(files) == 1][:2]
    assert twins
    found = find_pairs([fingerprint(read_grey(file)) for file in [*twins, *strangers]])
    assert {(i, i + 1) for i in range(0, len(twins), 2)} <= set(found)


def test_text_alone_joins_nobody() -> None:
    """A scanner's label gives matching keypoints on images of different patients."""
    rng = np.random.default_rng(2)
    images = [calipers(scan(draw_scene("benign", rng), rng) / np.float32(255)) for _ in range(6)]
    assert find_pairs([fingerprint(image) for image in images]) == []


def test_blank_images_are_survived() -> None:
    assert find_pairs([fingerprint(np.zeros((50, 60), np.float32))] * 2) == []


def test_groups_are_transitive() -> None:
    assert group(5, [(0, 2), (2, 4)]) == [0, 1, 0, 3, 0]
    assert group(2, []) == [0, 1]

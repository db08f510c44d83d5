"""Ultrasound-like phantoms: layered tissue, speckle, attenuation, shadows, lesions with masks.

They exercise the software from end to end without anybody's data. They are no simulation of physics, and a
score on them says nothing about patients. So that a network has to look at shape, whatever a lesion does to
the picture as a whole (darkness, shadow or enhancement behind it) is done by decoys in every class as well:
fat lobules without a border, acoustic shadows and bright bands that belong to no lesion.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

CLASSES = ("benign", "malignant", "normal")
SHARES = (0.54, 0.27, 0.19)  # about those of BUSI


@dataclass(frozen=True)
class Scene:
    """What is looked at: the echo strength of tissue (H, W) and the mask of each lesion."""

    label: str
    echo: np.ndarray
    masks: list[np.ndarray]


def draw_scene(label: str, rng: np.random.Generator, lesions: int = 1) -> Scene:
    """Draw tissue with lesions of a class ("normal" has none) and decoys; sizes vary from image to image."""
    shape = int(rng.integers(230, 320)), int(rng.integers(280, 380))
    echo = _layers(shape, rng)
    for _ in range(int(rng.integers(1, 4)) + (label == "normal")):
        _add_lobule(echo, rng)
    masks: list[np.ndarray] = []
    if label != "normal":
        masks = [_add_lesion(echo, label, rng, masks) for _ in range(lesions)]
    bands = int(rng.integers(1, 4)) - len(masks)
    for _ in range(max(bands, 0)):
        start = (int(rng.integers(shape[0] // 4, shape[0] // 2)), int(rng.integers(0, shape[1])))
        _add_band(echo, start, int(rng.integers(15, 45)), rng)
    return Scene(label, echo, masks)


def _layers(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return skin, fat, gland and muscle with wavy borders, as echo strength around 1."""
    height, width = shape
    depth = np.arange(height)[:, None] / height
    wave = lambda size: gaussian_filter1d(rng.normal(size=width), 30, mode="reflect") * size  # noqa: E731
    borders = np.cumsum([0.06, *rng.uniform([0.12, 0.25], [0.25, 0.45])])
    echo = np.full(shape, 1.5)
    for border, strength in zip(borders, rng.uniform([0.5, 0.8, 0.4], [0.9, 1.3, 0.9]), strict=True):
        echo = np.where(depth > border + wave(0.3), strength, echo)
    texture = gaussian_filter(rng.normal(size=shape), (3, 14))
    return echo * np.exp(0.25 * texture / texture.std())


def _polar(shape: tuple[int, int], centre: tuple[float, float], tilt: float) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    y, x = y - centre[0], x - centre[1]
    return y * np.cos(tilt) - x * np.sin(tilt), y * np.sin(tilt) + x * np.cos(tilt)


def _blob(
    shape: tuple[int, int],
    centre: tuple[float, float],
    radii: tuple[float, float],
    spikes: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return an ellipse (radii: down, across) whose border waves smoothly, or in spikes."""
    y, x = _polar(shape, centre, rng.uniform(-0.3, 0.3))
    angle = np.arctan2(y / radii[0], x / radii[1])
    waves = sum(rng.uniform(0, 0.06) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in (2, 3))
    teeth = sum(rng.uniform(0.5, 1) * np.abs(np.cos(k * angle + rng.uniform(0, 6.3))) for k in (4, 7, 11)) / 3
    return np.hypot(y / radii[0], x / radii[1]) < 1 + waves + spikes * (teeth - 0.5)


def _add_lesion(echo: np.ndarray, label: str, rng: np.random.Generator, others: list[np.ndarray]) -> np.ndarray:
    """Darken a lesion in place and return its mask: benign wide, smooth and bordered, malignant tall and spiky."""
    shape = echo.shape
    size = rng.uniform(0.07, 0.17) * shape[0] / (1 + len(others))
    tall = rng.uniform(0.9, 1.3) if label == "malignant" else rng.uniform(0.55, 0.8)
    radii = size * tall, size / tall
    side = 0.5 if not others else (0.25 if np.argwhere(others[0])[:, 1].mean() > shape[1] / 2 else 0.75)
    centre = shape[0] * rng.uniform(0.35, 0.6), shape[1] * (side + rng.uniform(-0.15, 0.15))
    mask = _blob(shape, centre, radii, 0.55 if label == "malignant" else 0.0, rng)
    soft = gaussian_filter(mask.astype(float), 2.0 if label == "malignant" else 1.0)
    echo *= 1 - soft * rng.uniform(0.45, 0.7)
    _add_band(echo, (int(centre[0]), int(centre[1])), int(radii[1]), rng)
    return mask


def _add_lobule(echo: np.ndarray, rng: np.random.Generator) -> None:
    """Darken a fat lobule without a border in place: as dark as a lesion, of another shape."""
    shape = echo.shape
    centre = shape[0] * rng.uniform(0.15, 0.9), shape[1] * rng.uniform(0, 1)
    radii = shape[0] * rng.uniform(0.03, 0.1), shape[1] * rng.uniform(0.1, 0.3)
    soft = gaussian_filter(_blob(shape, centre, radii, 0.0, rng).astype(float), 9)
    echo *= 1 - soft * rng.uniform(0.45, 0.8)


def _add_band(echo: np.ndarray, start: tuple[int, int], half_width: int, rng: np.random.Generator) -> None:
    """Darken or brighten in place what lies below a point, as a shadow or an enhancement does."""
    height, width = echo.shape
    across = np.exp(-(((np.arange(width) - start[1]) / max(half_width, 5)) ** 2))
    below = 1 / (1 + np.exp(-(np.arange(height) - start[0]) / 8))
    strength = rng.choice([rng.uniform(-1.2, -0.4), rng.uniform(0.2, 0.5)])
    echo *= np.exp(strength * below[:, None] * across[None, :])


def scan(scene: Scene, rng: np.random.Generator, calipers: bool = False) -> np.ndarray:
    """Return a picture of a scene, uint8 (H, W): speckle, attenuation, gain and log compression differ each time."""
    noise = [gaussian_filter(rng.normal(size=scene.echo.shape), (0.8, 1.6)) for _ in range(2)]
    speckle = np.hypot(*noise)
    depth = np.linspace(0, 1, scene.echo.shape[0])[:, None]
    signal = scene.echo * speckle / speckle.mean() * np.exp(-rng.uniform(0.2, 1.2) * depth)
    grey = np.log1p(8 * signal) / np.log1p(8 * 4)
    picture = np.clip((grey * rng.uniform(0.75, 1.1)) ** rng.uniform(0.9, 1.4) * 255, 0, 255).astype(np.uint8)
    if calipers:
        _draw_calipers(picture, scene, rng)
    return picture


def _draw_calipers(picture: np.ndarray, scene: Scene, rng: np.random.Generator) -> None:
    """Draw a label, and crosses at the ends of a lesion, as a scanner's user does."""
    place = int(rng.integers(10, picture.shape[1] - 120)), picture.shape[0] - int(rng.integers(12, 60))
    cv2.putText(picture, str(rng.choice(["RT UOQ", "LT AXILLA", "RT 9"])), place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1)
    for mask in scene.masks[:1]:
        rows, columns = np.nonzero(mask)
        for end in (columns.argmin(), columns.argmax()):
            cv2.drawMarker(picture, (int(columns[end]), int(rows[end])), 255, cv2.MARKER_CROSS, 9, 1)


def duplicate(scene: Scene, picture: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return a near duplicate of a picture with its masks: another gain, calipers, a little smaller and cropped."""
    noisy = picture * rng.uniform(0.85, 1.1) + rng.normal(0, 6, picture.shape)
    picture = np.clip(noisy, 0, 255).astype(np.uint8)
    _draw_calipers(picture, scene, rng)
    margin = int(0.04 * min(picture.shape))
    scale = rng.uniform(0.8, 1.0)

    def cut(values: np.ndarray) -> np.ndarray:
        inner = np.ascontiguousarray(values[margin:-margin, margin:-margin])
        return cv2.resize(inner, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)

    return cut(picture), [cut(mask.astype(np.float32)) > 0.5 for mask in scene.masks]

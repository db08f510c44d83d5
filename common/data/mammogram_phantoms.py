"""Mammogram-like phantoms: breast outline, gland texture of four densities, pectoral muscle, masses, calcifications.

They exercise the software from end to end without anybody's data. They are no simulation of physics, and a score on
them says nothing about patients. So that a network has to look at shape, every breast holds as many round masses and
scattered calcifications as another: a cancer takes the place of one of them, with spicules or as a cluster.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

DENSITIES = ("A", "B", "C", "D")
GLAND_SHARE = {"A": 0.12, "B": 0.3, "C": 0.55, "D": 0.8}
VIEWS = ("CC", "MLO")
FINDINGS = 3  # masses or calcifications in every breast, malignant or not


@dataclass(frozen=True)
class Breast:
    """What both views of a breast share."""

    laterality: str  # L or R
    density: str  # A to D
    size: float  # 0 to 1
    cancer: str | None  # "mass", "calcifications" or none
    implant: bool = False
    findings: tuple[tuple[str, bool], ...] | None = None  # (kind, malignant) of each, where they are to be known
    scale: float = 1.0  # of the findings, for pictures of so few pixels that they would hardly show; fewer then


@dataclass(frozen=True)
class Mammogram:
    """A picture (H, W) in [0, 1], tissue bright, with the masks (H, W) of what is drawn in it."""

    picture: np.ndarray
    breast: np.ndarray
    pectoral: np.ndarray
    lesion: np.ndarray  # the malignant ones
    findings: list[np.ndarray]  # each


def draw_mammogram(breast: Breast, view: str, shape: tuple[int, int], rng: np.random.Generator) -> Mammogram:
    """Draw one view, chest wall to the left for a left breast and to the right for a right one."""
    outline, depth = _outline(breast, view, shape, rng)
    pectoral = _pectoral(view, shape, rng) & outline
    tissue = 0.25 + 0.2 * depth + _gland(breast, outline, depth, rng)
    if breast.implant:
        tissue += 0.5 * _ellipse(shape, (0.5, 0.12), (0.22, 0.2), 0.0)
    findings = _add_findings(tissue, outline & ~pectoral, breast, rng)
    lesion = np.logical_or.reduce([mask for malignant, mask in findings if malignant] or [np.zeros(shape, bool)])
    soft = gaussian_filter(outline.astype(np.float32), shape[0] / 400)
    muscle = gaussian_filter(pectoral.astype(np.float32), shape[0] / 250)
    tissue = tissue * (1 - muscle) + muscle * (0.68 + 0.05 * _cloud(shape, 1.2, rng))
    picture = np.clip(tissue * soft, 0, 1) ** rng.uniform(0.9, 1.15) * rng.uniform(0.85, 1.0)
    picture = picture + rng.normal(0, 0.012, shape).astype(np.float32) * (0.15 + soft)
    picture = np.clip(picture, 0, 1).astype(np.float32)
    turn = slice(None, None, -1 if breast.laterality == "R" else 1)
    layers = (picture, outline, pectoral, lesion, *(mask for _, mask in findings))
    picture, outline, pectoral, lesion, *masks = (np.ascontiguousarray(layer[:, turn]) for layer in layers)
    _write_label(picture, breast.laterality, view)
    return Mammogram(picture, outline, pectoral, lesion, masks)


def _grid(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return y and x in units of the picture's height, so that circles are round."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return y / shape[0], x / shape[0]


def _outline(
    breast: Breast, view: str, shape: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the breast is, and how thick it is compressed there (0 at the skin, 1 deep inside)."""
    y, x = _grid(shape)
    width = (0.28 + 0.4 * breast.size) * shape[1] / shape[0] / 0.77
    height = 0.26 + 0.2 * breast.size
    centre = 0.5 + (0.06 if view == "MLO" else 0.0) + rng.uniform(-0.03, 0.03)
    droop = rng.uniform(0.05, 0.2) if view == "MLO" else rng.uniform(-0.04, 0.04)
    up = (y - centre - droop * x) / height
    above = np.where((up < 0) & (view == "MLO"), 0.6, 1.0)  # an MLO runs on into the axilla
    distance = np.sqrt((np.abs(up) * above) ** 2.2 + (x / width) ** 2)
    return distance < 1, np.sqrt(np.clip(1 - distance**2, 0, 1)).astype(np.float32)


def _cloud(shape: tuple[int, int], slope: float, rng: np.random.Generator) -> np.ndarray:
    """Return noise whose amplitude falls with frequency to the power ``slope``, of mean 0 and deviation 1."""
    small = min(1.0, 640 / shape[0])  # what lies beyond is below the noise of the picture
    rows, columns = max(8, int(shape[0] * small)), max(8, int(shape[1] * small))
    frequency = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None])
    spectrum = np.fft.rfft2(rng.normal(size=(rows, columns))) / np.maximum(frequency, 1 / rows) ** slope
    cloud = np.fft.irfft2(spectrum, s=(rows, columns)).astype(np.float32)
    cloud = cv2.resize(cloud, shape[::-1], interpolation=cv2.INTER_LINEAR)
    return (cloud - cloud.mean()) / cloud.std()


def _gland(breast: Breast, outline: np.ndarray, depth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return what gland adds to fat: bright strands over a share of the breast that the density sets."""
    field = _cloud(outline.shape, 1.6, rng) + 1.2 * depth
    share = np.clip(GLAND_SHARE[breast.density] + rng.uniform(-0.08, 0.08), 0.03, 0.92)
    threshold = np.quantile(field[outline][::7], 1 - share)
    return 0.26 / (1 + np.exp(-4 * (field - threshold))) * (0.85 + 0.15 * _cloud(outline.shape, 1.0, rng))


def _pectoral(view: str, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return the muscle of an MLO: a triangle in the upper corner at the chest wall, its edge slightly bent."""
    if view != "MLO":
        return np.zeros(shape, bool)
    y, x = _grid(shape)
    length, width = rng.uniform(0.35, 0.6), rng.uniform(0.15, 0.3)
    bend = rng.uniform(-0.15, 0.15)
    along = np.clip(y / length, 0, 1)
    return x < width * (1 - along) + bend * width * along * (1 - along)


def _ellipse(
    shape: tuple[int, int], centre: tuple[float, float], radii: tuple[float, float], tilt: float
) -> np.ndarray:
    """Return a soft ellipse (0 to 1) around ``centre`` (y, x), in units of the picture's height."""
    y, x = _grid(shape)
    y, x = y - centre[0], x - centre[1]
    across = np.hypot(
        (y * np.cos(tilt) - x * np.sin(tilt)) / radii[0], (y * np.sin(tilt) + x * np.cos(tilt)) / radii[1]
    )
    return 1 / (1 + np.exp(np.clip(12 * (across - 1), -30, 30)))


def _add_findings(
    tissue: np.ndarray, inside: np.ndarray, breast: Breast, rng: np.random.Generator
) -> list[tuple[bool, np.ndarray]]:
    """Draw findings into the tissue in place; return whether each is malignant, and its mask."""
    found = []
    core = cv2.erode(inside.astype(np.uint8), np.ones((tissue.shape[0] // 16,) * 2, np.uint8)).astype(bool)
    places = np.argwhere(core if core.any() else inside)
    kinds, known = ["mass", "calcifications"], breast.findings
    for number in range(max(1, round(FINDINGS / breast.scale)) if known is None else len(known)):
        malignant = number == 0 and breast.cancer is not None if known is None else known[number][1]
        kind = known[number][0] if known is not None else breast.cancer if malignant else str(rng.choice(kinds))
        centre = places[rng.integers(len(places))] / tissue.shape[0]
        place = float(centre[0]), float(centre[1])
        if kind == "mass":
            mask = _add_mass(tissue, place, malignant, rng, breast.scale)
        else:  # where findings are outlined one by one, those of a kind have outlines of the same size
            reach = rng.uniform(0.035, 0.06) * breast.scale if known else None
            mask = _add_calcifications(tissue, place, malignant, rng, breast.scale, reach)
        found.append((malignant, mask))
    return found


def _add_mass(
    tissue: np.ndarray, centre: tuple[float, float], malignant: bool, rng: np.random.Generator, scale: float
) -> np.ndarray:
    """Brighten a mass: round and smooth, or ragged with spicules that run out of it."""
    radius = rng.uniform(0.018, 0.035) * scale
    radii = radius * rng.uniform(0.85, 1.15), radius
    body = _ellipse(tissue.shape, centre, radii, rng.uniform(0, 3.1))
    y, x = _grid(tissue.shape)
    y, x = y - centre[0], x - centre[1]
    distance, angle = np.hypot(y, x) / radius, np.arctan2(y, x)
    strength = rng.uniform(0.12, 0.2)
    if malignant:
        rays = sum(np.cos(k * angle + rng.uniform(0, 6.3)) for k in (9, 13, 17)) / 3
        spicules = np.clip(rays * 3, 0, 1) * np.exp(-np.clip(distance - 0.8, 0, None) * 1.1)
        body = np.maximum(body * 0.8, spicules * 0.75)
    tissue += strength * body
    return distance < 1.2  # whether it is malignant or not: its size is to tell nothing


def _add_calcifications(
    tissue: np.ndarray,
    centre: tuple[float, float],
    malignant: bool,
    rng: np.random.Generator,
    scale: float,
    reach: float | None = None,
) -> np.ndarray:
    """Add bright specks: a dozen within a small cluster, or as many scattered over the breast, or within ``reach``."""
    number, spread = int(rng.integers(9, 15)), 0.02 * scale if malignant or reach is not None else 0.12
    offsets = rng.normal(0, spread, (number, 2))
    if reach is not None and not malignant:
        angles, distances = rng.uniform(0, 2 * np.pi, number), reach * np.sqrt(rng.uniform(0, 1, number))
        offsets = np.stack([distances * np.sin(angles), distances * np.cos(angles)], 1)
    for y, x in np.asarray(centre) + offsets:
        radius = rng.uniform(0.0018, 0.0035) * scale
        _add_speck(tissue, y * tissue.shape[0], x * tissue.shape[0], max(0.7, radius * tissue.shape[0]), rng)
    y, x = _grid(tissue.shape)
    return np.hypot(y - centre[0], x - centre[1]) < (reach or 2 * spread)


def _add_speck(tissue: np.ndarray, row: float, column: float, radius: float, rng: np.random.Generator) -> None:
    reach = int(3 * radius) + 1
    top, left = max(0, int(row) - reach), max(0, int(column) - reach)
    part = tissue[top : int(row) + reach + 1, left : int(column) + reach + 1]
    if part.size:
        y, x = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]]
        part += rng.uniform(0.2, 0.35) * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * radius**2))


def _write_label(picture: np.ndarray, laterality: str, view: str) -> None:
    """Write laterality and view into the upper corner away from the chest wall, as a film label."""
    size = picture.shape[0] / 1000
    column = int(picture.shape[1] * (0.72 if laterality == "L" else 0.06))
    place = (column, int(picture.shape[0] * 0.07))
    label = np.zeros(picture.shape, np.uint8)
    cv2.putText(label, f"{laterality} {view}", place, cv2.FONT_HERSHEY_SIMPLEX, size, 242, max(1, round(3 * size)))
    np.maximum(picture, label / np.float32(255), out=picture)

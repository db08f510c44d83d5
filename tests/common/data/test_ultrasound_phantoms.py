"""The phantoms' difficulty is bounded: what a glance at the whole picture, or a threshold, can get."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import kurtosis, skew
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from common.data.ultrasound_phantoms import CLASSES, draw_scene, duplicate, scan


@pytest.fixture(scope="module")
def pictures() -> list[tuple[str, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(3)
    made = []
    for label in CLASSES * 100:
        scene = draw_scene(label, rng)
        mask = np.any(scene.masks, axis=0) if scene.masks else np.zeros(scene.echo.shape, bool)
        made.append((label, scan(scene, rng), mask))
    return made


def statistics(picture: np.ndarray) -> list[float]:
    values = picture.astype(float).ravel()
    spread = np.percentile(values, [1, 5, 25, 50, 75, 95, 99])
    return [values.mean(), values.std(), skew(values), kurtosis(values), *spread, *picture.shape]


def test_global_statistics_do_not_give_the_class_away(pictures) -> None:
    features = np.array([statistics(picture) for _, picture, _ in pictures])
    truth = np.array([CLASSES.index(label) for label, _, _ in pictures])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    probability = cross_val_predict(model, features, truth, cv=folds, method="predict_proba")
    assert roc_auc_score(truth, probability, multi_class="ovr") <= 0.60


def test_a_threshold_does_not_find_the_lesions(pictures) -> None:
    def mean_dice(threshold: int) -> float:
        found = [(gaussian_filter(p.astype(float), 3) < threshold, m) for _, p, m in pictures if m.any()]
        return float(np.mean([2 * (f & m).sum() / (f.sum() + m.sum()) for f, m in found]))

    assert max(mean_dice(threshold) for threshold in range(20, 120, 10)) <= 0.4


def test_masks_fit_the_class(pictures) -> None:
    assert all(mask.any() == (label != "normal") for label, _, mask in pictures)


def test_a_duplicate_moves_its_mask_along() -> None:
    rng = np.random.default_rng(4)
    scene = draw_scene("benign", rng)
    picture, masks = duplicate(scene, scan(scene, rng), rng)
    assert masks[0].shape == picture.shape and masks[0].any()

"""Does a 95 % interval hold the truth in 95 of 100 studies, when images come in patients?"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from common.metrics.bootstrap import draws_of
from common.metrics.classification import roc_auc

PATIENTS, IMAGES, SHIFT, SHARED, OWN = 120, 4, 1.0, 1.0, 0.5
TRUE_AUC = norm.cdf(SHIFT / np.sqrt(2 * (SHARED**2 + OWN**2)))  # of an image of one patient against one of another


def study(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patients of either class with four images each, whose scores share most of their chance."""
    patient = np.repeat(np.arange(PATIENTS), IMAGES)
    positive = (np.arange(PATIENTS) < PATIENTS // 3)[patient]
    chance = SHARED * rng.normal(size=PATIENTS)[patient] + OWN * rng.normal(size=len(patient))
    return patient, positive, SHIFT * positive + chance


def covers(groups: np.ndarray, positive: np.ndarray, score: np.ndarray, seed: int) -> bool:
    draws = draws_of(lambda w: roc_auc(positive, score, w), groups, resamples=400, seed=seed)
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return bool(low <= TRUE_AUC <= high)


@pytest.mark.slow
def test_resampling_patients_covers_and_resampling_images_does_not() -> None:
    rng, held = np.random.default_rng(0), []
    for seed in range(1000):
        patient, positive, score = study(rng)
        groups = (patient, np.arange(len(patient)))
        held.append([covers(group, positive, score, seed) for group in groups])
    patients, images = np.mean(held, axis=0)
    assert 0.93 <= patients <= 0.97, f"over patients {patients:.3f}"
    assert images < 0.80, f"over images {images:.3f}"

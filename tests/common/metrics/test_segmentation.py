from __future__ import annotations

import numpy as np
import pytest

from common.metrics.segmentation import THRESHOLDS, best_threshold, dice, iou, mask_areas


def test_areas_equal_counting_at_every_threshold() -> None:
    rng = np.random.default_rng(0)
    probability, truth = rng.random((20, 30)).astype(np.float32), rng.random((20, 30)) < 0.2
    true, predicted, overlap = mask_areas(probability, truth)
    assert true == truth.sum()
    for threshold, area, common in zip(THRESHOLDS, predicted, overlap, strict=True):
        assert area == (probability >= np.float32(threshold)).sum()
        assert common == ((probability >= np.float32(threshold)) & truth).sum()


def test_a_probability_on_the_threshold_is_lesion() -> None:
    _, predicted, _ = mask_areas(np.full((1, 1), 0.5, np.float32), np.ones((1, 1), bool))
    assert predicted[THRESHOLDS == 0.5] == 1


@pytest.mark.parametrize(
    ("overlap", "predicted", "true", "expected_dice", "expected_iou"),
    [(2, 4, 4, 0.5, 1 / 3), (4, 4, 4, 1, 1), (0, 0, 4, 0, 0), (0, 9, 4, 0, 0), (0, 5, 0, np.nan, np.nan)],
    ids=["half", "exact", "missed", "beside it", "no lesion"],
)
def test_dice_and_iou_by_hand(overlap, predicted, true, expected_dice, expected_iou) -> None:
    areas = [np.array([float(v)]) for v in (overlap, predicted, true)]
    np.testing.assert_allclose(dice(*areas), [expected_dice])
    np.testing.assert_allclose(iou(*areas), [expected_iou])


def test_best_threshold_ignores_images_without_lesion() -> None:
    overlap = np.array([[4, 3, 1], [0, 0, 0]])
    predicted = np.array([[9, 4, 1], [9, 9, 0]])
    assert best_threshold(overlap, predicted, np.array([4, 0]), np.array([0.2, 0.5, 0.8])) == 0.5
    with pytest.raises(ValueError, match="no image"):
        best_threshold(overlap, predicted, np.array([0, 0]), np.array([0.2, 0.5, 0.8]))

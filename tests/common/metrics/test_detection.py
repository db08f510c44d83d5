from __future__ import annotations

import numpy as np
import pytest

from common.metrics.bootstrap import estimate
from common.metrics.detection import (
    box_iou,
    coco_average_precision,
    counts_per_image,
    froc,
    match,
    sensitivity_at,
)

LESIONS = np.array([[0, 0, 10, 10], [50, 50, 60, 60]], float)


def test_overlap_by_hand() -> None:
    assert box_iou(LESIONS, np.array([[5.0, 0, 15, 10]]))[:, 0] == pytest.approx([50 / 150, 0])
    assert box_iou(np.zeros((1, 4)), LESIONS).tolist() == [[0, 0]]


def test_the_surest_detection_takes_the_lesion_and_a_second_one_is_no_false_alarm() -> None:
    boxes = [[0, 0, 9, 9], [1, 1, 10, 10], [80, 80, 90, 90], [52, 52, 62, 62]]
    assert match(boxes, [0.6, 0.9, 0.8, 0.1], LESIONS).tolist() == [-2, 0, -1, 1]
    assert match(boxes, [0.6, 0.9, 0.8, 0.1], LESIONS, least=0.95).tolist() == [-1, -1, -1, -1]
    assert match([[4, 4, 40, 40]], [0.5], LESIONS, "centre").tolist() == [-1]
    assert match([[4, 4, 14, 14]], [0.5], LESIONS, "centre").tolist() == [0]
    assert match(np.zeros((0, 4)), [], LESIONS).tolist() == [] and match(boxes[:1], [0.3], []).tolist() == [-1]


# three images: two lesions, one lesion, none
SCORES = [[0.9, 0.8, 0.3], [0.7, 0.6], [0.5]]
MATCHED = [[0, -1, 1], [-1, 0], [-1]]
NUMBER = [2, 1, 0]


def test_the_curve_by_hand() -> None:
    found, false = counts_per_image(SCORES, MATCHED, [0.25, 0.55, 0.75, 0.85])
    alarms, sensitivity = froc(found, false, NUMBER)
    assert alarms[0] == pytest.approx([3 / 3, 2 / 3, 1 / 3, 0])
    assert sensitivity[0] == pytest.approx([3 / 3, 2 / 3, 1 / 3, 1 / 3])
    values = [sensitivity_at(rate, found, false, NUMBER)[0] for rate in (0.125, 0.5, 0.7, 4)]
    assert values == pytest.approx([1 / 3, 1 / 3, 2 / 3, 1])


def test_weights_are_copies_of_images() -> None:
    found, false = counts_per_image(SCORES, MATCHED, [0.25, 0.55])
    twice = [np.concatenate([a, a[:1]]) for a in (found, false)]
    for ours, theirs in zip(
        froc(found, false, NUMBER, np.array([[2.0, 1, 1]])), froc(*twice, [*NUMBER, 2]), strict=True
    ):
        np.testing.assert_allclose(ours, theirs)
    assert estimate(lambda w: sensitivity_at(1, found, false, NUMBER, w), ["a", "b", "c"]).value == 1


def test_without_lesions_sensitivity_is_undefined_and_too_many_alarms_leave_nothing() -> None:
    found, false = counts_per_image([[0.9]], [[-1]], [0.5])
    assert np.isnan(sensitivity_at(4, found, false, [0])[0])
    assert sensitivity_at(0.5, found, false, [1])[0] == 0


def image(boxes, scores=None) -> dict:
    masks = np.zeros((len(boxes), 100, 100), bool)
    for mask, (x1, y1, x2, y2) in zip(masks, np.asarray(boxes, int).reshape(-1, 4), strict=True):
        mask[y1:y2, x1:x2] = True
    found = {"size": (100, 100), "boxes": boxes, "masks": masks, "labels": [1] * len(boxes)}
    return found if scores is None else {**found, "scores": scores}


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_average_precision_of_plain_cases(kind) -> None:
    truths = [image([[10, 10, 50, 50]]), image([[20, 20, 60, 60]])]
    assert coco_average_precision(truths, [image([[10, 10, 50, 50]], [0.9]), image([[20, 20, 60, 60]], [0.8])], kind)[
        "ap"
    ] == pytest.approx(1)
    half = coco_average_precision(truths, [image([[10, 10, 50, 50]], [0.9]), image([], [])], kind)
    assert half["ap50"] == pytest.approx(51 / 101)  # recall .5: 51 of COCO's 101 points
    shifted = [image([[10, 10, 50, 44]], [0.9]), image([[20, 20, 60, 54]], [0.8])]  # IoU .85
    found = coco_average_precision(truths, shifted, kind)
    assert found["ap50"] == pytest.approx(1) and found["ap"] == pytest.approx(0.8)  # .5 to .85 of ten thresholds
    assert coco_average_precision(truths, [image([], []), image([], [])], kind)["ap"] == 0
    assert np.isnan(coco_average_precision([image([])], [image([[1, 1, 9, 9]], [0.5])], kind)["ap"])

"""Detections against lesions: the metric, its handler, tables from anywhere, and a second implementation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from ignite.engine import Engine
from torchmetrics.classification import BinaryCalibrationError
from torchmetrics.detection import MeanAveragePrecision

from common.handlers.lesions import LesionFigureHandler
from common.metrics.calibration import expected_calibration_error
from common.metrics.detection import box_iou
from common.metrics.lesion_tables import box_average_precision, checked_tables, count, score
from common.metrics.lesions import LESION_FIGURES, LesionFigure
from common.metrics.segmentation import dice_per_lesion


def image(boxes: list[list[int]], scores: list[float] | None = None) -> dict[str, torch.Tensor]:
    masks = torch.zeros(len(boxes), 100, 100, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    one = {"boxes": torch.tensor(boxes, dtype=torch.float).reshape(-1, 4), "masks": masks}
    one["labels"] = torch.ones(len(boxes), dtype=torch.int64)
    return one if scores is None else {**one, "scores": torch.tensor(scores)}


TRUTHS = [image([[10, 10, 50, 50], [60, 60, 90, 80]]), image([[20, 20, 60, 60]]), image([])]
FOUND = [
    image([[10, 10, 50, 40], [0, 70, 20, 90]], [0.9, 0.6]),
    image([[20, 20, 60, 60], [70, 70, 95, 95]], [0.8, 0.7]),
    image([[5, 5, 30, 30]], [0.3]),
]


def random_images(seed: int) -> tuple[list[dict], list[dict]]:
    """Lesions, and detections near them beside some that are nowhere near."""
    rng = np.random.default_rng(seed)

    def boxes(rows: int) -> np.ndarray:
        low, size = rng.integers(0, 60, (rows, 2)), rng.integers(8, 39, (rows, 2))
        return np.concatenate([low, low + size], 1)

    def detected(there: np.ndarray) -> np.ndarray:
        found = np.clip(np.concatenate([there + rng.integers(-3, 4, there.shape), boxes(1)]), 0, 100)
        steps = 20 * box_iou(found.astype(float), there.astype(float))
        on_threshold = (np.abs(steps - steps.round()) < 1e-6) & (steps > 0)  # there single precision decides
        return detected(there) if on_threshold.any() else found

    truths = [boxes(number) for number in [0, 1, 2] * 12 + [1]]
    found = [detected(there) for there in truths]
    return [image(t.tolist()) for t in truths], [image(f.tolist(), rng.random(len(f)).tolist()) for f in found]


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        ("sensitivity_at_0.125", 2 / 3),  # from .8 on there is no false positive
        ("sensitivity_at_0.5", 2 / 3),
        ("sensitivity_at_4", 2 / 3),
        ("lesion_dice", (2 * 1200 / 2800 + 0 + 1) / 3),
    ],
)
def test_figures_by_hand(figure: str, expected: float) -> None:
    metric = LesionFigure(figure)
    for found, there in zip(FOUND, TRUTHS, strict=True):
        metric([found], [there])
    assert metric.aggregate() == pytest.approx(expected)
    metric.reset()
    assert not metric.images


@pytest.mark.parametrize("seed", [0, 1])
def test_average_precision_of_boxes_equals_torchmetrics_and_that_of_their_masks(seed: int) -> None:
    """Of 37 lesions no recall lies on COCO's grid by .01, which theirs rounds to single precision."""
    truths, found = random_images(seed)
    other = MeanAveragePrecision(iou_type="bbox")
    other.update(found, truths)
    expected = other.compute()
    for name, theirs in (("ap", "map"), ("ap50", "map_50"), ("ap75", "map_75")):
        boxes, masks = LesionFigure(f"box_{name}"), LesionFigure(f"mask_{name}")
        boxes(found, truths)
        masks(found, truths)
        assert boxes.aggregate() == pytest.approx(float(expected[theirs]), abs=1e-6)
        assert masks.aggregate() == pytest.approx(boxes.aggregate())  # rectangles fill their boxes


def test_calibration_error_equals_torchmetrics() -> None:
    """Theirs bins the confidence of the called class: the same where everything is called positive."""
    rng = np.random.default_rng(0)
    p = 0.5 + rng.random(2000) / 2
    truth = rng.random(2000) < p**2
    theirs = BinaryCalibrationError(n_bins=15)(torch.tensor(p), torch.tensor(truth.astype(int)))
    assert expected_calibration_error(truth, p)[0] == pytest.approx(float(theirs), abs=1e-6)


def test_a_handler_puts_the_figure_among_the_engines_metrics() -> None:
    engine = Engine(lambda engine, batch: ([FOUND[i] for i in batch], [TRUTHS[i] for i in batch]))
    LesionFigureHandler("sensitivity_at_1").attach(engine, "froc")
    assert engine.run([[0, 1], [2]]).metrics["froc"] == pytest.approx(2 / 3)


def test_unknown_figures_are_refused_and_no_lesion_is_undefined() -> None:
    with pytest.raises(ValueError, match="Unknown figure 'map'"):
        LesionFigure("map")
    for figure in LESION_FIGURES:
        metric = LesionFigure(figure)
        metric([FOUND[2]], [TRUTHS[2]])
        assert np.isnan(metric.aggregate()), figure


def test_dice_of_a_missed_lesion_is_0() -> None:
    masks = np.zeros((2, 4, 4), bool)
    masks[0, :2], masks[1, 2:] = True, True
    assert dice_per_lesion(masks[:1], masks, np.array([1])).tolist() == [0, 0]
    assert dice_per_lesion(masks[:1], masks, np.array([0])).tolist() == [1, 0]
    assert dice_per_lesion(masks[:0], masks, np.zeros(0, int)).tolist() == [0, 0]


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    columns = ["x1", "y1", "x2", "y2"]
    lesions, detections = [], []
    for number, (there, found) in enumerate(zip(TRUTHS, FOUND, strict=True)):
        facts = {"image": f"i{number}", "patient_id": f"p{number}"}
        rows = there["boxes"].tolist() or [[None] * 4]
        lesions += [{**facts, **dict(zip(columns, row, strict=True))} for row in rows]
        pairs = zip(found["boxes"].tolist(), found["scores"].tolist(), strict=True)
        detections += [{**facts, **dict(zip(columns, row, strict=True)), "score": s} for row, s in pairs]
    return pd.DataFrame(lesions), pd.DataFrame(detections)


def test_tables_score_as_the_metric_does() -> None:
    lesions, found = tables()
    checked_tables(lesions, found)
    scores = score(count(lesions, found, "patient_id"), resamples=100)
    assert scores["sensitivity_at_0.5"].value == pytest.approx(2 / 3)
    assert scores["lesion_free_images_with_a_detection"].value == 1
    metric = LesionFigure("box_ap")
    metric(FOUND, TRUTHS)
    assert box_average_precision(lesions, found)["ap"] == pytest.approx(metric.aggregate())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, b: (a.drop(columns="x1"), b), "lesions lacks the columns"),
        (lambda a, b: (a, b.drop(columns="score")), "detections lacks the columns"),
        (lambda a, b: (a, b.assign(x2=-1)), "5 boxes of detections are none"),
        (lambda a, b: (a.iloc[:3], b), "1 images with detections are not in the table of lesions, such as i2"),
        (lambda a, b: (a.assign(x1=[None, 1, 1, None]), b), "1 boxes of lesions are none"),
        (lambda a, b: (a.iloc[:0], b), "no images"),
        (lambda a, b: (a, b.assign(score="x")), "no number for 'score'"),
    ],
    ids=["lesions' columns", "no score", "inside out", "stranger", "half a box", "no lesions", "words"],
)
def test_what_cannot_be_scored_is_refused(change, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_tables(*change(*tables()))

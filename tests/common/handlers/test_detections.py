"""Tables and figures of detections, against what can be counted by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from common.handlers.detections import DetectionTable
from common.losses.detection import SumOfLosses
from common.metrics.blobs import bright_blobs
from common.metrics.detection import box_iou

Box = tuple[int, int, int, int]


def image(*rows: Box, scores: list[float] | None = None, label: int = 1) -> dict[str, torch.Tensor]:
    masks = torch.zeros(len(rows), 40, 60, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, rows, strict=True):
        mask[y1:y2, x1:x2] = True
    labels = torch.full((len(rows),), label)
    found = {"boxes": torch.tensor(rows).float().reshape(-1, 4), "labels": labels, "masks": masks}
    return found if scores is None else {**found, "scores": torch.tensor(scores)}


A, B, FAR = (10, 5, 30, 15), (40, 20, 50, 36), (0, 30, 8, 38)
CASES = [  # truth, what is found: a perfect hit, a shifted one and a false alarm, a miss, a healthy image with an alarm
    (image(A), image(A, scores=[0.9])),
    (image(A, B), image((10, 5, 30, 10), FAR, scores=[0.8, 0.6])),
    (image(B), image(scores=[])),
    (image(), image(FAR, scores=[0.4])),
]


def table(cases=CASES, **options) -> DetectionTable:
    made = DetectionTable(["mass"], resamples=50, **options)
    for n, (truth, found) in enumerate(cases):
        item = {"name": f"image_{n}", "patient_id": f"P{n // 2}", "target": truth}
        made.iteration_completed(SimpleNamespace(state=SimpleNamespace(batch=[item], output={"pred": [found]})))
    made.compute()
    return made


def test_figures_are_those_counted_by_hand() -> None:
    scores = table(operating_point={"score_threshold": 0.5}).scores
    assert scores["sensitivity"].value == pytest.approx(2 / 4)
    assert scores["false_positives"].value == pytest.approx(1 / 4)
    assert scores["false_positives_lesion_free"].value == 0
    shifted = 2 * 100 / (100 + 200)
    assert scores["lesion_dice"].value == pytest.approx((1 + shifted) / 4)  # missed lesions count 0
    assert scores["found_dice"].value == pytest.approx((1 + shifted) / 2)
    assert scores["max_dice"].value == pytest.approx(1)
    assert scores["mask_ap50"].value == pytest.approx(0.505, abs=0.01)  # half of the lesions, before any false alarm
    assert (scores["sensitivity"].n, scores["sensitivity"].groups) == (4, 2)
    everything = table(operating_point={"score_threshold": 0.0}).scores
    assert everything["false_positives_lesion_free"].value == 1


def test_the_operating_point_keeps_its_wish() -> None:
    assert table(false_positives=0.5).choose()["score_threshold"] == pytest.approx(0.4)
    assert table(false_positives=0.25).choose()["score_threshold"] == pytest.approx(0.6)
    assert table(false_positives=0.0).choose()["score_threshold"] == pytest.approx(0.8)
    nothing = table([(image(A), image(scores=[])), (image(), image(scores=[]))])
    assert nothing.choose()["score_threshold"] > 1 and nothing.scores["sensitivity"].value == 0


def test_the_tables_can_be_scored_by_anybody(tmp_path: Path) -> None:
    made = table()
    made.choose()
    made.write(tmp_path)
    lesions, found, images = (
        pd.read_csv(tmp_path / f"{name}.csv") for name in ("lesions", "detections", "predictions")
    )
    assert lesions["x1"].notna().sum() == 4 and set(lesions["image"]) == {f"image_{n}" for n in range(4)}
    assert found["dice"].notna().sum() == 2 and found["score"].tolist() == pytest.approx([0.9, 0.8, 0.6, 0.4])
    np.testing.assert_allclose(lesions.iloc[0][["x1", "y1", "x2", "y2"]].astype(float), A)
    assert images["positive"].tolist() == [True, True, True, False]
    assert images["probability"].tolist() == pytest.approx([0.9, 0.8, 0, 0.4])
    assert set(made.figures()) == {"froc"}


def test_a_blob_detector_is_scored_beside() -> None:
    picture = np.zeros((40, 60), np.float32)
    picture[20:36, 40:50], picture[5:15, 10:30] = 0.9, 0.4
    boxes, scores = bright_blobs(picture)
    assert box_iou(boxes[:1], np.array([B]))[0, 0] > 0.3 and (np.diff(scores) <= 0).all()
    assert bright_blobs(np.zeros((40, 60)))[0].shape == (0, 4)
    made = DetectionTable(["mass"], resamples=20, blobs=True)
    item = {"name": "one", "image": torch.from_numpy(picture)[None], "target": image(A, B)}
    made.iteration_completed(SimpleNamespace(state=SimpleNamespace(batch=[item], output={"pred": [image(scores=[])]})))
    made.compute()
    assert made.scores["sensitivity_at_1"].value == 0 and made.scores["blobs_sensitivity_at_1"].value >= 0.5


def test_losses_are_added_with_their_weights() -> None:
    losses = {"loss_mask": torch.tensor(2.0), "loss_classifier": torch.tensor(1.0)}
    assert float(SumOfLosses()(losses)) == 3 and float(SumOfLosses({"loss_mask": 0.5})(losses)) == 2
    with pytest.raises(ValueError, match="loss_maks"):
        SumOfLosses({"loss_maks": 1.0})(losses)

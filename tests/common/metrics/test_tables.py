from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from common.metrics.folds import nested_operating_points
from common.metrics.tables import apply_operating_point, calibrate, choose_operating_point, score

CLASSES = ["benign", "malignant", "normal"]


def table(labels: list[str], predicted: list[str], folds: list[int] | None = None) -> pd.DataFrame:
    probability = [{f"p_{c}": 0.8 if c == p else 0.1 for c in CLASSES} for p in predicted]
    names = [f"i{n}" for n in range(len(labels))]
    rows = {
        "image": names,
        "group_id": names,
        "label": labels,
        "predicted": predicted,
        "fold": folds or [0] * len(labels),
    }
    return pd.concat([pd.DataFrame(rows), pd.DataFrame(probability)], axis=1)


def areas(rows: list[tuple[str, float, int, int, int]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["image", "threshold", "true_px", "predicted_px", "overlap_px"])


POINT = {"mask_threshold": 0.6}
AREAS = areas(
    [("i0", 0.3, 10, 20, 10), ("i0", 0.6, 10, 10, 10), ("i1", 0.3, 10, 10, 5), ("i1", 0.6, 10, 2, 2)]
    + [("i2", 0.3, 0, 7, 0), ("i2", 0.6, 0, 3, 0)]
)


def test_the_mask_of_an_image_called_normal_is_empty() -> None:
    final = apply_operating_point(table(CLASSES, ["benign", "normal", "normal"]), AREAS, CLASSES, POINT)
    assert final["predicted_px"].tolist() == [10, 0, 0]
    scores = score(final, CLASSES)
    assert scores["dice"].value == pytest.approx(0.5)  # the second lesion is missed and counts 0
    assert (scores["missed_lesions"].value, scores["false_masks"].value) == (0.5, 0.0)


def test_a_false_mask_is_counted() -> None:
    final = apply_operating_point(table(CLASSES, ["benign", "benign", "benign"]), AREAS, CLASSES, POINT)
    assert score(final, CLASSES)["false_masks"].value == 1.0


def test_tables_of_one_task_score_that_task() -> None:
    masks_only = apply_operating_point(
        table(CLASSES, CLASSES)[["image", "group_id", "label"]], AREAS, CLASSES, {"mask_threshold": 0.3}
    )
    assert set(score(masks_only, CLASSES)) == {"dice", "iou", "missed_lesions", "false_masks"}
    assert set(score(table(CLASSES, CLASSES), CLASSES)) >= {"accuracy", "balanced_accuracy", "macro_auc"}


def test_the_threshold_of_best_mean_iou() -> None:
    # at .3: (.5 + 1/3) / 2; at .6: (1 + .2) / 2
    masks_only = table(CLASSES, CLASSES)[["image", "group_id", "label"]]
    assert choose_operating_point(masks_only, AREAS, CLASSES) == {"mask_threshold": 0.6, "normal_threshold": None}


def called(p_normal: list[float], minimum: int = 1) -> list[str]:
    """What the images are called at the operating point that they themselves suggest."""
    rest, share = 1 - np.array(p_normal), np.array([0.99, 0.4, 0.4])
    predictions = table(CLASSES, CLASSES).assign(
        p_normal=p_normal, p_benign=rest * share, p_malignant=rest * (1 - share)
    )
    point = choose_operating_point(predictions, AREAS, CLASSES, minimum)
    assert (point["normal_threshold"] is None) == (minimum > 1)
    return apply_operating_point(predictions, AREAS, CLASSES, point)["predicted"].tolist()


def test_the_threshold_for_lesion_free_lies_between_lesions_and_healthy_images() -> None:
    assert called([0.1, 0.4, 0.6]) == ["benign", "malignant", "normal"]
    assert called([0.1, 0.4, 0.45], minimum=2)[2] == "normal"  # one image is too few: the most probable class


def test_false_masks_are_bounded_whatever_lesions_that_costs() -> None:
    """The healthy image looks more like a lesion (.2) than a lesion does (.4): the lesion is given up."""
    assert called([0.1, 0.4, 0.2]) == ["benign", "normal", "normal"]


def test_a_calibrated_table_keeps_the_networks_own_probabilities() -> None:
    predictions = table(CLASSES, CLASSES)
    one, two = ({"calibration": {"kind": "temperature", "temperature": t}} for t in (2.0, 0.5))
    first = calibrate(predictions, CLASSES, one)
    assert first["p_benign"][0] == pytest.approx(0.8**0.5 / (0.8**0.5 + 2 * 0.1**0.5))
    pd.testing.assert_series_equal(first["raw_benign"], predictions["p_benign"], check_names=False)
    again = calibrate(calibrate(first, CLASSES, two), CLASSES, one)
    pd.testing.assert_frame_equal(again, first)
    assert calibrate(predictions, CLASSES, None) is predictions


def test_a_fold_gets_the_threshold_of_the_others() -> None:
    predictions = table(["benign", "benign"], ["benign", "benign"], folds=[0, 1])
    final, points = nested_operating_points(predictions, AREAS[AREAS["image"] != "i2"], CLASSES)
    assert {fold: point["mask_threshold"] for fold, point in points.items()} == {
        0: 0.3,
        1: 0.6,
    }  # fold 1 alone prefers .3, fold 0 alone .6
    assert final.set_index("image")["predicted_px"].to_dict() == {"i0": 20, "i1": 2}


def test_one_fold_alone_cannot_choose() -> None:
    with pytest.raises(ValueError, match="at least two"):
        nested_operating_points(table(["benign"], ["benign"]), AREAS, CLASSES)

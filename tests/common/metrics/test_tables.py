from __future__ import annotations

import pandas as pd
import pytest

from common.metrics.folds import nested_operating_points
from common.metrics.tables import apply_operating_point, choose_operating_point, score

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


def test_the_threshold_for_lesion_free_lies_between_lesions_and_healthy_images() -> None:
    """The lesions have p_normal .1 and .4, the healthy image .6: any threshold between .4 and .6 is best."""
    predictions = table(CLASSES, CLASSES).assign(p_normal=[0.1, 0.4, 0.6])
    assert choose_operating_point(predictions, AREAS, CLASSES)["normal_threshold"] is None  # one image is too few
    found = choose_operating_point(predictions, AREAS, CLASSES, minimum=1)["normal_threshold"]
    assert 0.4 < found <= 0.6
    called = apply_operating_point(predictions, AREAS, CLASSES, {"mask_threshold": 0.6, "normal_threshold": found})
    assert called["predicted"].tolist()[2] == "normal" and called["predicted_px"].tolist() == [10, 2, 0]


def test_false_masks_are_bounded_whatever_lesions_that_costs() -> None:
    """The healthy image looks more like a lesion (.2) than a lesion does (.4): the lesion is given up."""
    predictions = table(CLASSES, CLASSES).assign(p_normal=[0.1, 0.4, 0.2])
    found = choose_operating_point(predictions, AREAS, CLASSES, minimum=1)["normal_threshold"]
    assert 0.1 < found <= 0.2


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

"""Lesions become instances, go where their image goes, and end as boxes with x along the width."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from common.data.instances import boxes_of, class_of, instance_map, split_mask
from common.transforms.instances import InstanceTargetsd, LoadInstancesd
from common.transforms.warp import RandWarpd

SHAPE = (60, 100)


def mask_of(*boxes: tuple[int, int, int, int], shape: tuple[int, int] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for x1, y1, x2, y2 in boxes:
        mask[y1:y2, x1:x2] = True
    return mask


def item_of(folder: Path, *masks: np.ndarray, label: str = "malignant mass") -> dict:
    lesions = []
    for number, mask in enumerate(masks):
        Image.fromarray(mask).save(folder / f"{number}.png")
        lesions.append({"mask": str(folder / f"{number}.png"), "label": label})
    return {"image": MetaTensor(torch.rand(1, *SHAPE)), "lesions": lesions}


def target_of(item: dict, *between, classes: tuple[str, ...] = ("mass",), smallest: int = 1, **options) -> dict:
    for step in (LoadInstancesd("image", classes, **options), *between, InstanceTargetsd(smallest=smallest)):
        item = step(item)
    return item["target"]


def test_boxes_run_along_the_width_first(tmp_path: Path) -> None:
    target = target_of(item_of(tmp_path, mask_of((70, 5, 90, 15)), mask_of((3, 40, 8, 60))))
    assert target["boxes"].tolist() == [[70, 5, 90, 15], [3, 40, 8, 60]]
    assert target["labels"].tolist() == [1, 1] and target["masks"].shape == (2, *SHAPE)
    assert target["masks"].sum((1, 2)).tolist() == [200, 100]


def test_masks_and_boxes_go_where_the_image_goes(tmp_path: Path) -> None:
    item = item_of(tmp_path, mask_of((70, 5, 90, 15)))
    item["image"] = MetaTensor(torch.from_numpy(mask_of((70, 5, 90, 15)))[None].float())
    flip = RandWarpd(["image", "instances"], flip_prob=[1.0, 0.0], mode=["bilinear", "nearest"])
    loaded = flip(LoadInstancesd("image", ["mass"])(item))
    target = InstanceTargetsd()(loaded)["target"]
    assert target["boxes"].tolist() == [[10, 5, 30, 15]]
    assert torch.equal(target["masks"][0] > 0, loaded["image"][0] > 0.5)


@pytest.mark.parametrize(
    ("masks", "boxes"),
    [
        ([], []),
        ([mask_of()], []),
        ([mask_of((7, 9, 8, 10))], [[7, 9, 8, 10]]),
        ([mask_of((90, 50, 100, 60))], [[90, 50, 100, 60]]),
        ([mask_of((5 * n, 0, 5 * n + 3, 4)) for n in range(20)], [[5 * n, 0, 5 * n + 3, 4] for n in range(20)]),
    ],
    ids=["no lesion", "empty mask", "one pixel", "at the border", "twenty"],
)
def test_any_number_and_size_of_lesions(tmp_path: Path, masks, boxes) -> None:
    target = target_of(item_of(tmp_path, *masks))
    assert target["boxes"].tolist() == boxes and target["boxes"].shape == (len(boxes), 4)
    assert target["masks"].shape == (len(boxes), *SHAPE) and target["labels"].dtype == torch.int64


def test_small_remains_are_left_out(tmp_path: Path) -> None:
    item = item_of(tmp_path, mask_of((0, 0, 2, 2)), mask_of((50, 0, 60, 10)))
    assert target_of(item, smallest=9)["boxes"].tolist() == [[50, 0, 60, 10]]


def test_of_two_lesions_that_overlap_the_smaller_shows() -> None:
    found = instance_map([mask_of((10, 10, 14, 14)), mask_of((0, 0, 50, 50))], SHAPE)
    assert (found == 1).sum() == 16 and (found == 2).sum() == 2500 - 16
    boxes, numbers = boxes_of(found, 2)
    assert numbers.tolist() == [1, 2] and boxes[1].tolist() == [0, 0, 50, 50]


def test_one_mask_of_several_lesions_is_split(tmp_path: Path) -> None:
    mask = mask_of((0, 0, 10, 10), (12, 0, 20, 10), (60, 40, 61, 41))
    assert [int(part.sum()) for part in split_mask(mask)] == [100, 80, 1]
    assert [int(part.sum()) for part in split_mask(mask, dilation=1, smallest=2)] == [180]
    Image.fromarray(mask).save(tmp_path / "all.png")
    item = {"image": MetaTensor(torch.rand(1, *SHAPE)), "mask": str(tmp_path / "all.png"), "label": "benign"}
    target = target_of(item, classes=("malignant", "benign"), parts=True, smallest=2)
    assert target["boxes"].tolist() == [[0, 0, 10, 10], [12, 0, 20, 10]] and target["labels"].tolist() == [2, 2]
    healthy = {"image": MetaTensor(torch.rand(1, *SHAPE)), "mask": None, "label": "normal"}
    assert len(target_of(healthy, classes=("lesion",), parts=True)["boxes"]) == 0


def test_masks_follow_an_image_that_was_loaded_smaller(tmp_path: Path) -> None:
    large = mask_of((20, 40, 60, 80), (150, 101, 151, 102), shape=(120, 200))
    item = item_of(tmp_path, large)
    assert target_of(item)["boxes"].tolist() == [[10, 20, 30, 40]]
    speck = item_of(tmp_path, mask_of((150, 101, 151, 102), shape=(120, 200)))
    assert target_of(speck)["boxes"].tolist() == [[75, 50, 76, 51]]


def test_classes_are_words_of_labels() -> None:
    assert class_of("malignant calcification", ["mass", "calcification"]) == 1
    assert class_of("benign lesion", ["lesion"]) == 0 and class_of("background", ["mass"]) is None


def test_a_mask_that_is_gone_is_named(tmp_path: Path) -> None:
    item = {"image": MetaTensor(torch.rand(1, *SHAPE)), "lesions": [{"mask": "gone.png", "label": "mass"}]}
    with pytest.raises(ValueError, match=r"gone\.png cannot be read"):
        target_of(item)

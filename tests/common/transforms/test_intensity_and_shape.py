from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from common.transforms.breast import ClearBackgroundd, CropBorder
from common.transforms.flags import flags_of
from common.transforms.intensity import (
    CLAHE,
    AutoContrast,
    AutoContrastd,
    CLAHEd,
    RandAutoContrastd,
    RandBrightnessContrast,
    RandBrightnessContrastd,
)
from common.transforms.shape import DilateMaskd, PadToSquare, RandResizedCrop, ResizeToFit
from common.transforms.variants import VARIANTS, Variantd, with_variants


def ramp() -> torch.Tensor:
    return torch.linspace(0.2, 0.6, 64 * 48).reshape(1, 64, 48)


def test_auto_contrast_stretches_to_the_whole_range() -> None:
    result = AutoContrast()(ramp())
    assert result.min() == 0 and result.max() == 1
    torch.testing.assert_close(result, (ramp() - 0.2) / 0.4, atol=1e-5, rtol=0)
    constant = torch.full((1, 5, 5), 0.3)
    assert torch.equal(AutoContrast()(constant), constant)


def test_auto_contrast_may_leave_out_the_ends() -> None:
    image = ramp()
    image[0, 0, 0] = 1.0
    assert AutoContrast(0.01)(image)[0, 32, 24] > AutoContrast()(image)[0, 32, 24] + 0.1
    with pytest.raises(ValueError, match="either end"):
        AutoContrast(0.5)


def test_random_auto_contrast_draws_once_for_all_keys() -> None:
    data = {"a": ramp(), "b": ramp()}
    transform = RandAutoContrastd(["a", "b"], prob=0.5).set_random_state(0)
    changed = [[not torch.equal(out[key], data[key]) for key in data] for out in (transform(data) for _ in range(40))]
    assert all(a == b for a, b in changed) and 8 < sum(a for a, _ in changed) < 32


def test_brightness_and_contrast_turn_about_the_middle_and_are_one_draw() -> None:
    data = {"a": ramp(), "b": torch.full((1, 4, 4), 0.5)}
    out = RandBrightnessContrastd(["a", "b"], prob=1, brightness=0, contrast=0.3).set_random_state(0)(data)
    torch.testing.assert_close(out["b"], data["b"])
    scale = (out["a"].max() - out["a"].min()) / 0.4
    assert 0.7 <= scale <= 1.3 and scale != 1
    torch.testing.assert_close(out["a"], 0.5 + scale * (ramp() - 0.5))
    shifted = RandBrightnessContrast(prob=1, brightness=0.2, contrast=0).set_random_state(0)(ramp()) - ramp()
    assert shifted.std() < 1e-6 and 0 < shifted.mean().abs() <= 0.2
    assert torch.equal(RandBrightnessContrast(prob=0)(ramp()), ramp())


def test_clahe_raises_local_contrast_as_an_independent_one_does() -> None:
    rng = np.random.default_rng(0)
    image = np.clip(0.3 + 0.02 * rng.normal(size=(128, 128)) + np.linspace(0, 0.4, 128), 0, 1).astype(np.float32)
    ours = CLAHE()(torch.from_numpy(image)[None])[0].numpy()
    theirs = cv2.createCLAHE(2.0, (8, 8)).apply(np.round(image * 255).astype(np.uint8)) / 255
    detail = [np.abs(np.diff(a, axis=0)).mean() for a in (image, ours, theirs)]
    assert detail[1] > 1.3 * detail[0] and detail[2] > 1.3 * detail[0]
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("image", [torch.full((1, 9, 9), 1.5), torch.full((1, 9, 9), float("nan"))])
def test_clahe_refuses_what_is_not_from_0_to_1(image: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        CLAHE()(image)


def test_dictionary_transforms_keep_metadata_and_do_not_touch_their_input() -> None:
    image = MetaTensor(ramp(), meta={"view": "CC"})
    for transform in (CLAHEd("image"), AutoContrastd("image")):
        result = transform({"image": image})["image"]
        assert result.meta["view"] == "CC" and torch.equal(image.as_tensor(), ramp())


@pytest.mark.parametrize(
    ("frame", "shape", "expected"),
    [((100, 100), (200, 100), (100, 50)), ((300, 100), (30, 20), (150, 100)), (64, (10, 640), (1, 64))],
    ids=["smaller", "larger", "very wide"],
)
def test_resize_to_fit_keeps_the_aspect(frame, shape, expected) -> None:
    assert ResizeToFit(frame)(torch.rand(1, *shape)).shape[1:] == expected


def test_padding_to_a_square_keeps_the_chest_wall_at_the_left() -> None:
    image = torch.ones(1, 6, 3)
    assert PadToSquare("end")(image)[0, 0].tolist() == [1, 1, 1, 0, 0, 0]
    assert PadToSquare()(image)[0, 0].tolist() == [0, 1, 1, 1, 0, 0]
    with pytest.raises(ValueError, match="symmetric"):
        PadToSquare("left")
    with pytest.raises(ValueError, match="each side"):
        CropBorder(0.5)


def test_a_mask_is_widened_in_all_directions() -> None:
    mask = torch.zeros(1, 9, 9)
    mask[0, 4, 4] = 1
    wide = DilateMaskd("mask", radius=2)({"mask": mask})["mask"][0]
    assert wide[4, 2] == wide[4, 6] == wide[2, 4] == wide[6, 4] == 1 and wide[4, 1] == wide[2, 2] == 0


def test_a_resized_crop_has_the_drawn_share_of_the_area() -> None:
    crop = RandResizedCrop((64, 64), scale=(0.25, 0.5)).set_random_state(0)
    for _ in range(20):
        crop.randomize((400, 300))
        share = np.prod([s.stop - s.start for s in crop.slices]) / (400 * 300)
        assert 0.23 < share < 0.52
    assert crop(torch.rand(1, 400, 300)).shape == (1, 64, 64)


def test_eight_variants_are_distinct_and_the_original_is_itself() -> None:
    image = torch.rand(1, 40, 30)
    items = with_variants([{"image": image, "label": "benign"}])
    made = [Variantd("image")(item)["image"] for item in items]
    assert len(items) == len(VARIANTS) == 8 and torch.equal(made[0], image)
    assert torch.equal(made[3], image.flip(1, 2))
    assert all(not torch.equal(a, b) for n, a in enumerate(made) for b in made[:n])
    with pytest.raises(ValueError, match="no variant"):
        Variantd("image")({"image": image, "variant": "upside down"})


def test_labels_are_cleared_and_the_breast_is_not() -> None:
    image = MetaTensor(torch.zeros(1, 200, 150))
    image[0, 40:160, :70] = 0.5
    image[0, 10:30, 110:140] = 0.9
    cleared = ClearBackgroundd("image", margin=10)({"image": image})["image"]
    assert cleared[0, :35].max() == 0 and torch.equal(cleared[0, 40:160, :70], image[0, 40:160, :70])
    empty = MetaTensor(torch.zeros(1, 60, 40))
    assert flags_of(ClearBackgroundd("image")({"image": empty})["image"]) == ["no_breast"]

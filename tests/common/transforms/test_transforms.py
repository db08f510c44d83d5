from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, get_track_meta
from monai.transforms import Compose, Invertd, RandAffined, Resized
from PIL import Image

from common.transforms.labels import ClassIndexd
from common.transforms.load import LoadGreyd
from common.transforms.outputs import DecideMaskd, Probabilitiesd
from common.transforms.untracked import UntrackedCompose


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    values = np.zeros((30, 50), np.uint8)
    values[3:9, 30:45] = 255  # off every axis of symmetry
    Image.fromarray(values).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_rows_come_first_and_metadata_says_where_from(picture: Path) -> None:
    image = LoadGreyd("image")({"image": str(picture)})["image"]
    assert image.shape == (1, 30, 50) and image.dtype == torch.float32
    assert image[0, 5, 40] == 1 and image[0, 20, 5] == 0
    assert image.meta["spatial_shape"] == (30, 50) and image.meta["filename_or_obj"] == str(picture)


def test_a_prediction_returns_to_the_source_pixels(picture: Path) -> None:
    transform = Compose([LoadGreyd("image"), Resized("image", (64, 64), mode="bilinear", anti_aliasing=True)])
    data = transform({"image": str(picture)})
    logits = torch.cat([(data["image"].as_tensor() - 0.5) * 20, torch.zeros(3, 64, 64)])
    data = Probabilitiesd("pred", ["mask", "class"])({**data, "pred": logits})
    back = Invertd("mask_probability", transform, "image", nearest_interp=False)(data)["mask_probability"]
    found = np.argwhere(back[0].numpy() >= 0.5)
    assert back.shape == (1, 30, 50)
    np.testing.assert_allclose([found.min(0), found.max(0)], [[3, 30], [8, 44]], atol=1)


@pytest.mark.parametrize(("logits", "pixels"), [([2.0, 0, 0], 4), ([0, 0, 2.0], 0)], ids=["benign", "normal"])
def test_an_image_called_normal_has_an_empty_mask(logits: list[float], pixels: int) -> None:
    planes = torch.tensor(logits)[:, None, None].expand(3, 2, 2)
    pred = torch.cat([torch.full((1, 2, 2), 5.0), planes])
    data = Probabilitiesd("pred", ["mask", "class"])({"pred": pred})
    decided = DecideMaskd("mask_probability", None, ["benign", "malignant", "normal"])(data)
    assert int(decided["predicted_mask"].sum()) == pixels
    assert float(data["class_probability"].sum()) == pytest.approx(1)


def test_an_unknown_label_is_refused() -> None:
    assert int(ClassIndexd("label", ["a", "b"])({"label": "b"})["label"]) == 1
    with pytest.raises(ValueError, match="'c'"):
        ClassIndexd("label", ["a", "b"])({"label": "c"})


def test_untracked_transforms_give_the_same_values_as_plain_tensors() -> None:
    data = {"image": MetaTensor(torch.rand(1, 24, 24))}
    turn = {"keys": "image", "prob": 1.0, "rotate_range": 0.5}
    tracked = Compose([RandAffined(**turn)]).set_random_state(3)(data)["image"]
    plain = UntrackedCompose([RandAffined(**turn)]).set_random_state(3)({"image": data["image"].as_tensor()})["image"]
    assert isinstance(tracked, MetaTensor) and type(plain) is torch.Tensor
    assert torch.equal(tracked.as_tensor(), plain)


def test_tracking_is_back_after_an_error() -> None:
    with pytest.raises(RuntimeError, match="applying transform"):
        UntrackedCompose([RandAffined("image")])({})
    assert get_track_meta()

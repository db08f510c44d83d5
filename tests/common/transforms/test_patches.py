"""Patches hold what their shares say, at one place for image and lesions."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from common.transforms.patches import RandPatchd

SHARES = {"lesion": 0.5, "tissue": 0.25, "blank": 0.25}
SIZE = (32, 32)


def film(shape: tuple[int, int] = (256, 192), lesion: bool = True) -> dict[str, torch.Tensor]:
    """A bright breast at the left, dark film at the right, and a lesion of 12 x 20 pixels near the chest wall."""
    image, instances = torch.full((1, *shape), 0.02), torch.zeros(1, *shape)
    image[0, 20:-20, : shape[1] // 2] = 0.6
    if lesion:
        instances[0, 100:112, 30:50] = 1
    image[0] += torch.arange(shape[1]) * 1e-5  # so that a place can be told from its pixels
    return {"image": image, "instances": instances}


def cut(item: dict[str, torch.Tensor], number: int = 200, **options) -> list[dict[str, torch.Tensor]]:
    step = RandPatchd(["image", "instances"], SIZE, **{"shares": SHARES, "stride": 16, **options})
    step.set_random_state(0)
    return [step(item) for _ in range(number)]


def kind(patch: dict[str, torch.Tensor]) -> str:
    if patch["instances"].any():
        return "lesion"
    return "tissue" if (patch["image"] > 0.3).any() else "blank"


def test_shares_are_kept() -> None:
    counts = Counter(kind(patch) for patch in cut(film(), 400))
    for name, share in SHARES.items():
        assert abs(counts[name] / 400 - share) < 0.08
    assert set(map(kind, cut(film(), 20, shares={"blank": 1.0}))) == {"blank"}


def test_what_an_image_lacks_goes_to_the_others() -> None:
    counts = Counter(kind(patch) for patch in cut(film(lesion=False)))
    assert counts["lesion"] == 0 and 0.35 < counts["tissue"] / 200 < 0.65
    assert kind(cut(film(lesion=False), 1, shares={"lesion": 1.0})[0]) in ("tissue", "blank")


def test_a_centred_lesion_is_whole_and_in_the_middle() -> None:
    for patch in cut(film(), 60, shares={"lesion": 1.0}, centred=True, jitter=0.1):
        assert patch["instances"].sum() == 240
        rows, columns = patch["instances"][0].nonzero().float().mean(0).tolist()
        assert abs(rows - 15.5) <= 4.5 and abs(columns - 15.5) <= 4.5
    at_the_wall = film()
    at_the_wall["instances"][:] = 0
    at_the_wall["instances"][0, :4, :4] = 1
    assert all(patch["instances"].sum() == 16 for patch in cut(at_the_wall, 20, shares={"lesion": 1.0}, centred=True))


def test_image_and_lesions_are_cut_at_one_place_on_the_grid() -> None:
    item = film()
    item["instances"] = torch.arange(256 * 192).reshape(1, 256, 192).float()
    for patch in cut(item, 30, shares={"lesion": 1.0}):
        top, left = divmod(int(patch["instances"][0, 0, 0]), 192)
        assert top % 16 == 0 and left % 16 == 0
        assert torch.equal(patch["image"], item["image"][:, top : top + 32, left : left + 32])


def test_a_small_image_is_padded() -> None:
    (patch,) = cut(film((24, 40)), 1)
    assert patch["image"].shape == patch["instances"].shape == (1, *SIZE)


def test_equal_seeds_give_equal_patches() -> None:
    first, second = cut(film(), 10), cut(film(), 10)
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(first, second, strict=True))
    assert len({float(np.asarray(patch["image"]).sum()) for patch in first}) > 1


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="lesion"):
        RandPatchd("image", SIZE, {"cyst": 1.0})

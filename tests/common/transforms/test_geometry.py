"""Every geometric transform moves image, mask and boxes together, and can be undone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose, Flipd, Resized, Rotate90d, SpatialPadd, Zoomd
from pydicom.uid import ExplicitVRLittleEndian

from common.data.dicom.write import grey_dataset, write_dicom
from common.data.mammogram import write_mammogram
from common.data.mammogram_phantoms import Breast, Mammogram, draw_mammogram
from common.transforms.boxes import PlaceBoxesd, boxes_to_image, boxes_to_source
from common.transforms.breast import CropBorderd, CropBreast, CropBreastd, OrientBreastd, current_spacing
from common.transforms.dicom import LoadMammogramd
from common.transforms.flags import AssessQualityd, flags_of
from common.transforms.pectoral import RemovePectorald
from common.transforms.shape import PadToSquared, RandResizedCropd, ResizeToFitd
from common.transforms.warp import DISTORTIONS, RandWarp, RandWarpd

KEYS = ["image", "mask"]
EXACT = {
    "breast crop": lambda: CropBreastd(KEYS, margin=5),
    "border crop": lambda: CropBorderd(KEYS, 0.05),
    "orientation": lambda: OrientBreastd(KEYS),
    "square": lambda: PadToSquared(KEYS),
    "square at the end": lambda: PadToSquared(KEYS, "end"),
    "flips": lambda: RandWarpd(KEYS, flip_prob=(1, 1)),
    "crop, turn, pad": lambda: Compose([CropBreastd(KEYS), OrientBreastd(KEYS), PadToSquared(KEYS)]),
}


def item(laterality: str = "L", view: str = "MLO", seed: int = 0, **meta) -> tuple[dict, Mammogram]:
    """A phantom with a lesion, its mask, and the box around it, in the source's pixels."""
    drawn = draw_mammogram(Breast(laterality, "A", 0.6, "mass"), view, (416, 320), np.random.default_rng(seed))
    size = drawn.picture.shape
    facts = {"laterality": laterality, "view": view, "spatial_shape": size, "source_shape": size, **meta}
    image = MetaTensor(torch.from_numpy(drawn.picture.copy())[None], meta=facts)
    mask = MetaTensor(torch.from_numpy(drawn.lesion.astype(np.float32))[None])
    return {"image": image, "mask": mask, "boxes": framing(mask)[None]}, drawn


def framing(mask: torch.Tensor) -> torch.Tensor:
    rows, columns = torch.where(mask[0] > 0.5)
    return torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=torch.float32)


@pytest.mark.parametrize("laterality", ["L", "R"])
@pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)
def test_forward_and_back_returns_the_pixels_of_the_source(make, laterality: str) -> None:
    data, _ = item(laterality)
    chain = Compose([make(), PlaceBoxesd("boxes")])
    there = chain({key: value.clone() for key, value in data.items()})
    torch.testing.assert_close(framing(there["mask"])[None], there["boxes"])
    back = chain.inverse(there)
    kept = back["image"] != 0  # what a crop took away comes back as background
    assert back["image"].shape == data["image"].shape
    assert torch.equal(back["image"][kept], data["image"][kept]) and kept.float().mean() > 0.3
    assert torch.equal(back["mask"].as_tensor(), data["mask"].as_tensor())
    torch.testing.assert_close(back["boxes"], data["boxes"])
    assert torch.allclose(back["image"].affine, torch.eye(4, dtype=torch.float64))


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(40, 300), st.integers(40, 300)),
    st.integers(0, 10_000),
    st.integers(0, 30),
    st.floats(0, 0.2),
    st.sampled_from(["symmetric", "end"]),
    st.permutations(range(4)),
)
def test_any_order_of_exact_steps_can_be_undone_on_any_image(shape, seed, margin, share, method, order) -> None:
    rng = np.random.default_rng(seed)
    picture = rng.uniform(0.3, 1, shape).astype(np.float32)
    picture[:, int(rng.uniform(0.3, 0.9) * shape[1]) :] = 0
    top, left = (int(rng.integers(side - 8)) for side in shape)
    mask = torch.zeros(1, *shape)
    mask[0, top : top + 7, left : left + 5] = 1
    data = {
        "image": MetaTensor(torch.from_numpy(picture)[None]),
        "mask": MetaTensor(mask),
        "boxes": framing(mask)[None],
    }
    data["image"].meta.update(spatial_shape=shape, source_shape=shape)
    steps = [
        CropBreastd(KEYS, margin=margin),
        CropBorderd(KEYS, share),
        OrientBreastd(KEYS),
        PadToSquared(KEYS, method),
    ]
    chain = Compose([*(steps[place] for place in order), PlaceBoxesd("boxes")])
    there = chain({key: value.clone() for key, value in data.items()})
    back = chain.inverse(there)
    kept = back["image"] != 0
    assert back["image"].shape == data["image"].shape and torch.equal(back["image"][kept], data["image"][kept])
    torch.testing.assert_close(back["boxes"], data["boxes"])
    if there["mask"].sum() == mask.sum():  # nothing of it was cropped away
        torch.testing.assert_close(framing(there["mask"])[None], there["boxes"])
        assert torch.equal(back["mask"].as_tensor(), mask)


CHAINS = {
    "resize": [Resized(KEYS, (200, 260), mode=["bilinear", "nearest"])],
    "fit": [ResizeToFitd(KEYS, (300, 200), mode=["bilinear", "nearest"]), SpatialPadd(KEYS, (300, 200))],
    "monai's": [Flipd(KEYS, 0), Rotate90d(KEYS), Zoomd(KEYS, 1.2, mode=["bilinear", "nearest"], keep_size=False)],
    "resized crop": [RandResizedCropd(KEYS, (256, 256), (0.9, 1.0), (1, 1), mode=["bilinear", "nearest"])],
    "preprocessing": [
        CropBorderd(KEYS),
        CropBreastd(KEYS),
        OrientBreastd(KEYS),
        RemovePectorald("image"),
        ResizeToFitd(KEYS, 256, mode=["bilinear", "nearest"]),
        PadToSquared(KEYS, "end"),
    ],
}


@pytest.mark.parametrize("laterality", ["L", "R"])
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_a_box_frames_its_lesion_after_every_chain_and_returns(chain, laterality: str) -> None:
    data, _ = item(laterality, seed=4)
    there = Compose([*chain, PlaceBoxesd("boxes")])({key: value.clone() for key, value in data.items()})
    assert (framing(there["mask"]) - there["boxes"][0]).abs().max() <= 1.0
    back = Compose([*chain, PlaceBoxesd("boxes")]).inverse(there)
    torch.testing.assert_close(back["boxes"], data["boxes"], atol=1e-3, rtol=0)
    assert back["image"].shape == data["image"].shape


def smooth(shape: tuple[int, int], seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]] / 40
    waves = sum(np.sin(a * x + b * y + c) for a, b, c in rng.uniform(-1, 1, (4, 3)))
    return torch.from_numpy((0.5 + waves / 10).astype(np.float32))[None]


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(120, 260), st.integers(120, 260)),
    st.integers(0, 1000),
    st.floats(0, 25),
    st.floats(0, 8),
    st.floats(0, 0.1),
    st.sampled_from([(), *[(kind,) for kind in DISTORTIONS]]),
)
def test_random_changes_can_be_undone(shape, seed, rotate, shear, shift, kinds) -> None:
    mask = torch.zeros(1, *shape)
    mask[0, shape[0] // 2 - 15 : shape[0] // 2 + 10, shape[1] // 2 - 10 : shape[1] // 2 + 18] = 1
    data = {"image": MetaTensor(smooth(shape, seed)), "mask": MetaTensor(mask), "boxes": framing(mask)[None]}
    change = {"rotate": rotate, "shear": shear, "shift": shift, "scale": (0.8, 1.2), "flip_prob": (0.5, 0.5)}
    warp = RandWarpd(
        KEYS,
        "boxes",
        ["bilinear", "nearest"],
        distort_prob=float(bool(kinds)),
        distortions=kinds or ("grid",),
        **change,
    ).set_random_state(seed)
    there = warp(data)
    # a box of a turned lesion frames its corners, which may stand out of the pixels by the turn, but never cuts it
    found, box = framing(there["mask"]), there["boxes"][0]
    assert (box[:2] <= found[:2] + 1).all() and (box[2:] >= found[2:] - 1).all()
    assert (found - box).abs().max() <= 2 + 0.2 * 40 * np.sin(np.deg2rad(rotate + shear))
    back = warp.inverse(there)
    centre = (slice(None), *(slice(side // 2 - 20, side // 2 + 20) for side in shape))
    assert (back["image"] - data["image"])[centre].abs().max() < 0.03
    assert ((back["mask"] - data["mask"])[centre] != 0).float().mean() < 0.04


def test_the_same_seed_draws_the_same_change_and_another_another() -> None:
    image = smooth((100, 80), 0)
    draws = [RandWarp(rotate=20, distort_prob=1).set_random_state(seed)(image) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_a_distorted_image_refuses_boxes_of_the_source() -> None:
    data, _ = item()
    warped = RandWarp(distort_prob=1).set_random_state(0)(data["image"])
    with pytest.raises(ValueError, match="give them to RandWarpd"):
        boxes_to_image(data["boxes"], warped)
    with pytest.raises(ValueError, match="Unknown distortions"):
        RandWarp(distortions=("fisheye",))


def test_boxes_are_in_the_pixels_of_the_file_even_where_a_smaller_image_was_loaded() -> None:
    image = MetaTensor(torch.zeros(1, 100, 50), meta={"spatial_shape": (100, 50), "source_shape": (400, 200)})
    box = torch.tensor([[40.0, 80.0, 60.0, 120.0]])
    torch.testing.assert_close(boxes_to_image(box, image), box / 4)
    torch.testing.assert_close(boxes_to_source(box / 4, image), box)


def test_boxes_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="x1, y1, x2, y2"):
        boxes_to_image(torch.zeros(4), MetaTensor(torch.zeros(1, 5, 5)))


def test_a_margin_in_millimetres_needs_and_follows_the_spacing() -> None:
    data, _ = item(pixel_spacing=(0.2, 0.4))
    none, some = CropBreast(margin=0)(data["image"].clone()), CropBreast(margin_mm=4)(data["image"].clone())
    assert some.shape[2] - none.shape[2] == 10  # one side has room, the chest wall's has none
    half = Resized("image", (208, 160))({"image": data["image"].clone()})["image"]
    assert current_spacing(half) == pytest.approx((0.4, 0.8))
    with pytest.raises(ValueError, match="pixel_spacing"):
        CropBreast(margin_mm=4)(item()[0]["image"])


def test_a_mask_of_another_size_is_refused_by_name() -> None:
    data, _ = item(filename_or_obj="a.png")
    data["mask"] = data["mask"][:, :-1]
    for transform in (CropBreastd(KEYS), OrientBreastd(KEYS), RandWarpd(KEYS), RemovePectorald("image", "mask")):
        with pytest.raises(ValueError, match="'mask' is"):
            transform(data)


def test_a_lesion_outside_the_breast_is_flagged() -> None:
    data, _ = item()
    data["mask"][0, -5:, -5:] = 1
    assert flags_of(CropBreastd(KEYS, margin=0)(data)["image"]) == ["lesion_outside_breast"]


def test_an_empty_frame_stays_whole_and_is_flagged() -> None:
    image = MetaTensor(torch.zeros(1, 60, 40), meta={"laterality": "R", "view": "MLO"})
    done = Compose([CropBreastd("image"), OrientBreastd("image"), RemovePectorald("image"), AssessQualityd("image")])
    result = done({"image": image})["image"]
    assert result.shape == (1, 60, 40)
    assert set(flags_of(result)) == {"no_breast", "pectoral_not_found", "not_a_mammogram"}


def test_a_laterality_that_disagrees_with_the_picture_is_reported_and_the_picture_believed() -> None:
    data, _ = item("R")
    data["image"].meta["laterality"] = "L"
    turned = OrientBreastd("image")(data)["image"]
    assert flags_of(turned) == ["laterality_disagreement"] and turned.meta["chest_wall"] == "right"
    assert torch.equal(turned.as_tensor(), data["image"].as_tensor().flip(2))


@pytest.mark.parametrize("laterality", ["L", "R"])
def test_the_muscle_is_set_to_background_and_comes_back(laterality: str) -> None:
    data, drawn = item(laterality, seed=1)
    chain = Compose([RemovePectorald("image", "mask"), OrientBreastd(KEYS), CropBreastd(KEYS, margin=200)])
    there = chain({key: value.clone() for key, value in data.items()})
    assert there["image"].meta["pectoral"] == "removed"
    back = chain.inverse(there)
    assert torch.equal(back["image"].as_tensor(), data["image"].as_tensor())
    removed = RemovePectorald("image")(data)["image"][0].numpy()
    assert (removed == 0)[drawn.pectoral].mean() > 0.8
    assert np.array_equal(removed[removed != 0], drawn.picture[removed != 0])  # nothing is painted


def test_a_probability_map_that_goes_back_is_given_no_muscle() -> None:
    chain = RemovePectorald("image")
    there = chain(item(seed=1)[0])["image"]
    assert there.meta["pectoral"] == "removed"
    prediction = MetaTensor(torch.full_like(there, 0.1).as_tensor(), applied_operations=there.applied_operations)
    assert torch.equal(chain.inverse({"image": prediction})["image"].as_tensor(), torch.full((1, 416, 320), 0.1))


def test_a_lesion_in_the_muscle_is_flagged() -> None:
    data, drawn = item(seed=1)
    data["mask"] = MetaTensor(torch.from_numpy(drawn.pectoral.astype(np.float32))[None])
    assert flags_of(RemovePectorald("image", "mask")(data)["image"]) == ["lesion_in_pectoral"]


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_ever_removed_from_a_cc_view(seed: int) -> None:
    data, _ = item("LR"[seed % 2], "CC", seed)
    done = RemovePectorald("image")(data)["image"]
    assert torch.equal(done.as_tensor(), data["image"].as_tensor())
    assert "not MLO" in done.meta["pectoral"] and flags_of(done) == []


def test_mammograms_that_say_different_things_batch_and_come_apart_again(tmp_path: Path) -> None:
    drawn = item("R")[1].picture
    words = np.round(drawn * 4095).astype(int)
    told = {
        "ViewPosition": "MLO",
        "ImageLaterality": "R",
        "ImagerPixelSpacing": [0.1, 0.1],
        "BreastImplantPresent": "NO",
    }
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    write_dicom(tmp_path / "told.dcm", grey_dataset(words, 12, ExplicitVRLittleEndian, **window, **told))
    write_mammogram(tmp_path / "untold.tif", drawn)
    chain = Compose(
        [
            LoadMammogramd("image"),
            AssessQualityd("image"),
            RemovePectorald("image"),
            OrientBreastd("image"),
            CropBreastd("image"),
            RandWarpd("image", rotate=5, prob=0.5),
            Resized("image", (64, 48)),
        ]
    )
    data = [{"image": tmp_path / name} for name in ("told.dcm", "untold.tif")]
    batch = next(iter(DataLoader(Dataset(data, chain), batch_size=2)))["image"]
    assert batch.shape == (2, 1, 64, 48) and batch.meta["view"] == ["MLO", ""] and batch.meta["implant"] == ["no", ""]
    one, other = decollate_batch(batch)
    assert one.meta["laterality"] == "R" and other.meta["laterality"] == ""
    assert current_spacing(one) is not None and current_spacing(other) is None
    assert one.meta["pectoral"] == "removed" and "unknown" in other.meta["pectoral"]


@pytest.mark.parametrize("kind", [RemovePectorald, OrientBreastd])
def test_nothing_to_do_leaves_no_trace_on_the_input(kind) -> None:
    data, _ = item("L", "CC")
    done = kind("image")(data)["image"]
    assert len(done.applied_operations) == 1 and not data["image"].applied_operations
    plain = data["image"].as_tensor()
    assert torch.equal(kind("image")({"image": plain})["image"].as_subclass(torch.Tensor), plain)

"""Views of a breast in one item; laterality and flips agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import NormalizeIntensityd, SpatialPadd

from common.data.breast import breast_mask, chest_wall_side
from common.data.mammogram import write_mammogram
from common.data.mammogram_phantoms import Breast, draw_mammogram
from common.transforms.breast import CropBreastd, OrientBreastd
from common.transforms.dicom import LoadMammogramd
from common.transforms.shape import ResizeToFitd
from common.transforms.views import AsViewsd, EachViewd, HeadTargetsd, TellViewd
from common.transforms.warp import RandWarpd

SIZE = (96, 64)


@pytest.fixture(scope="module")
def breast(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("breast")
    paths = []
    for view in ("CC", "MLO"):
        picture = draw_mammogram(Breast("R", "B", 0.5, None), view, (208, 160), np.random.default_rng(0)).picture
        paths.append(str(write_mammogram(folder / f"{view}.tif", picture)))
    return {"image": paths, "views": ["CC", "MLO"], "laterality": "R", "cancer": 1}


def chain(**options) -> EachViewd:
    steps = [LoadMammogramd("image"), TellViewd("image"), [OrientBreastd("image"), CropBreastd("image")]]
    resize = [ResizeToFitd("image", SIZE), SpatialPadd("image", SIZE, method="end")]
    return EachViewd("image", [*steps, resize], **options)


def test_views_are_stacked_and_a_missing_one_stays_zero(breast: dict) -> None:
    item = {**breast, "image": [breast["image"][0], None], "views": ["CC", None]}
    done = chain()(item)
    assert done["image"].shape == (2, *SIZE) and type(done["image"]) is torch.Tensor
    assert done["image"][0].max() > 0.5 and not done["image"][1].any()
    final = AsViewsd("image")(NormalizeIntensityd("image", channel_wise=True)({**done, "image": done["image"] + 0.1}))
    assert final["image"].shape == (2, 1, *SIZE) and not final["image"][1].any()
    assert final["image"][0].mean().abs() < 1e-4


def test_what_a_network_sees_goes_back_to_the_sources_pixels(breast: dict) -> None:
    step = chain(keep_traces=True)
    done = step(breast)
    for path, trace, image in zip(breast["image"], done["traces"], done["image"], strict=True):
        source = LoadMammogramd("image")({"image": path})["image"]
        back = step.to_source(image[None], trace)
        assert back.shape == source.shape
        inside = breast_mask(source[0].numpy())
        assert np.corrcoef(back[0].numpy()[inside], source[0].numpy()[inside])[0, 1] > 0.95


def test_views_of_several_sizes_are_refused(breast: dict) -> None:
    with pytest.raises(ValueError, match="end in the sizes"):
        EachViewd("image", [LoadMammogramd("image")])({**breast, "image": [breast["image"][0], _smaller(breast)]})


def _smaller(breast: dict) -> str:
    path = Path(breast["image"][0]).with_name("small.tif")
    return str(write_mammogram(path, np.full((50, 40), 0.5, np.float32)))


def test_the_items_view_and_side_reach_the_metadata(breast: dict) -> None:
    told = EachViewd("image", [LoadMammogramd("image"), TellViewd("image")], keep_traces=True)(breast)
    assert [trace.meta["view"] for trace in told["traces"]] == ["CC", "MLO"]
    assert told["traces"][0].meta["laterality"] == "R"


@pytest.mark.parametrize("flips", [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.0, 0.0)])
def test_a_mirrored_breast_is_labelled_as_the_other_side(breast: dict, flips) -> None:
    """What the picture shows, by the side of its chest wall, is what the target says."""
    heads = [{"name": "cancer"}, {"name": "laterality", "values": ["L", "R"]}]
    image = EachViewd("image", [LoadMammogramd("image")])({**breast, "image": breast["image"][:1], "views": ["CC"]})
    done = HeadTargetsd(heads)(RandWarpd("image", flip_prob=flips, laterality_key="laterality")(image))
    side = chest_wall_side(breast_mask(done["image"][0].numpy()))
    assert {"left": 0.0, "right": 1.0}[str(side)] == done["target"][1]
    assert done["target"][1] == (0.0 if flips[0] else 1.0) and breast["laterality"] == "R"

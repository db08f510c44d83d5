"""Every system of paper 004's detector resolves to its settings, and to nobody else's."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

from common.data.bundle import config_files

BUNDLE = "cbis_maskrcnn"
FOLDER = Path(__file__).parents[2] / "bundles" / BUNDLE / "configs" / "experiments"
ANCHORS = [16, 32, 64, 128, 256]
THREE = [("heads", 1.0), ("4+", 0.1), ("all", 0.01)]
TWO = [("heads", 1.0), ("all", 0.1)]
WHOLE, PATCHES = ([512, 512], None), ([256, 256], {"lesion": 0.5, "tissue": 0.25, "blank": 0.25})
# what trains at which share of the rate, the network's size, and what patches hold
TABLE = {
    "mit_resize_3stage": (THREE, *WHOLE),
    "mit_resize_2stage": (TWO, *WHOLE),
    "mit_patch_3stage": (THREE, *PATCHES),
    "mit_patch_2stage": (TWO, *PATCHES),
}
APPENDIX = ["CropBorderd", "ClearBackgroundd", "OrientBreastd", "CLAHEd", "PadToSquared", "ResizeToFitd"]
AUGMENTATIONS = ["RandWarpd", "RandResizedCropd", "RandBrightnessContrastd", "RandGaussianNoised"]


def names(steps: list[dict[str, Any]]) -> list[str]:
    return [step["_target_"].rpartition(".")[2] for step in steps]


def resolved(name: str | None) -> dict[str, Any]:
    return ConfigParser.load_config_files(config_files(BUNDLE, name))


@pytest.mark.parametrize("name", TABLE)
def test_a_system_has_the_papers_settings(name: str) -> None:
    config, (stages, size, shares) = resolved(name), TABLE[name]
    assert [(s["trainable"], s.get("rate", 1.0)) for s in config["stages"]] == stages
    assert sum(stage["epochs"] for stage in config["stages"]) == config["epochs"]
    assert (config["backbone"], config["pretrained"], config["anchors"]) == ("resnet101", True, ANCHORS)
    assert config["classes"] == ["mass"] and config["image_size"] == size
    assert names(config["prepare"]) == APPENDIX and names(config["random_transforms"]) == AUGMENTATIONS
    if shares is None:
        assert config["sample"] == [] and config["tile"] is None and config["whole_size"] == "@image_size"
        return
    (sample,) = config["sample"]
    assert (sample["shares"], sample["stride"], sample.get("centred", False)) == (shares, 128, False)
    assert config["tile"] == "@image_size"


def test_ours_sees_lesions_in_their_surroundings_and_images_without() -> None:
    config = resolved(None)
    (sample,) = config["sample"]
    assert sample["centred"] and config["negatives"] and config["image_size"] == [512, 512]
    assert [stage["trainable"] for stage in config["stages"]] == ["heads", "4+", "all"]


def test_no_two_resolve_alike_and_every_one_is_in_the_table() -> None:
    every = {path.stem for path in FOLDER.glob("*.json")}
    assert every == {*TABLE, "busi_instances"}
    given = {name: json.dumps({k: v for k, v in resolved(name).items() if k not in ("_desc_", "experiment", "after")})
             for name in [None, *sorted(every)]}  # fmt: skip
    assert all(given[first] != given[second] for first, second in combinations(given, 2))

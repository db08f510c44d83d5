"""Every system of the two papers resolves to its settings, and to nobody else's."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from common.data.bundle import chained, config_files

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "bundles" / "rsna_classifier" / "configs" / "experiments"
SEVERAL = ["site_id", "laterality", "view", "implant", "biopsy", "invasive", "BIRADS", "density"]
SEVERAL += ["difficult_negative_case", "machine_id", "age"]
FEW, FLIP, SMALL, ALL = ["laterality", "biopsy", "implant", "view"], (0.5, 0.0), (0.97, 1.03), (0.8, 1.2)
MUSCLE = ["CropBreastd", "RemovePectorald"]
MANY_STEPS = ["RandWarpd", "RandBrightnessContrastd", "RandCoarseDropoutd", "RandCoarseDropoutd"]
MICHIGAN = ["RandWarpd", "RandAutoContrastd", "RandResizedCropd", "RandGaussianSmoothd"]
# the papers' table: backbone, size, optimizer, rate, decay, batch, epochs, schedule, crop, random steps, auxiliary
# heads, positive weight, exits, views
Row = tuple[str, list[int], str, float, float, int, int, str, list[str], list[str], list[str], bool, int, int]
M = ("adam", 4e-4, 0.0, 16, 10, "ConstantLR")
G = ("lookahead_radam", 4e-4, 1e-8, 32, 12, "CosineAnnealingLR")
T = ("lookahead_radam", 4e-4, 1e-8, 16, 12, "OneCycleLR")
D = ("adam", 1e-4, 1e-6, 8, 12, "OneCycleLR")
CNN, VIT, S = "seresnext50_32x4d", "deit3_base_patch16_384", "tf_efficientnetv2_s"
TABLE: dict[str, Row] = {
    "michigan_baseline_cnn": (CNN, [1024, 512], *M, [], [], [], True, 0, 1),
    "michigan_baseline_vit": (VIT, [384, 384], *M, [], [], [], True, 0, 1),
    "michigan_roi_crop": (CNN, [1024, 512], *M, ["CropBreastd"], [], [], True, 0, 1),
    "michigan_threshold": (CNN, [1024, 512], *M, ["CropBreastd"], [], [], True, 0, 1),
    "michigan_augmentation": (CNN, [1024, 512], *M, ["CropBreastd"], MICHIGAN, [], True, 0, 1),
    "michigan_auxiliary_cnn": (CNN, [1024, 512], *M, ["CropBreastd"], MICHIGAN, SEVERAL, True, 0, 1),
    "michigan_auxiliary_vit": (VIT, [384, 384], *M, ["CropBreastd"], MICHIGAN, SEVERAL, True, 0, 1),
    "gatech_baseline": ("tf_efficientnet_b4", [1024, 1024], *G, [], ["RandWarpd"], [], False, 0, 1),
    "gatech_larger_images": ("tf_efficientnet_b4", [1536, 960], *G, [], ["RandWarpd"], [], False, 0, 1),
    "gatech_augmentations": ("tf_efficientnet_b4", [1536, 960], *G, [], MANY_STEPS, [], False, 0, 1),
    "gatech_preprocessing": ("tf_efficientnet_b4", [1536, 960], *G, MUSCLE, MANY_STEPS, [], False, 0, 1),
    "gatech_larger_model": ("tf_efficientnet_b6", [1536, 960], *G, MUSCLE, MANY_STEPS, [], False, 0, 1),
    "gatech_multitask_b3": ("tf_efficientnet_b3", [1536, 960], *T, MUSCLE, ["RandWarpd"], FEW, False, 0, 1),
    "gatech_multitask_v2s": (S, [1536, 960], *T, MUSCLE, ["RandWarpd"], FEW, False, 0, 1),
    "gatech_self_distillation": (S, [1536, 960], *D, MUSCLE, MANY_STEPS, [], False, 2, 1),
    "gatech_multi_view": (S, [1536, 960], *D, MUSCLE, MANY_STEPS, [], False, 2, 2),
}
EVALUATION_ONLY = {"michigan_threshold"}


def parse(name: str | None, **overrides: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(config_files("rsna_classifier", name))
    parser.update(overrides)
    return parser


def names(transforms: list[dict]) -> list[str]:
    return [str(one["_target_"]).rpartition(".")[2] for one in transforms]


@pytest.mark.parametrize("name", TABLE)
def test_an_experiment_is_the_papers_row(name: str) -> None:
    config, row = parse(name).config, TABLE[name]
    (backbone, size, optimizer, rate, decay, batch, epochs, schedule), (crop, steps, heads, *rest) = row[:8], row[8:]
    found = [config[key] for key in ("backbone", "image_size", "optimizer_name", "learning_rate", "weight_decay")]
    assert found == [backbone, size, optimizer, rate, decay]
    assert (config["batch_size"], config["epochs"]) == (batch, epochs)
    assert names([config["lr_scheduler"]]) == [schedule]
    assert names(config["crop"]) == crop and names(config["random_transforms"]) == steps
    assert [head["name"] for head in config["heads"]] == ["cancer", *heads]
    assert config["main_loss"]["_target_"] == "torch.nn.BCEWithLogitsLoss"
    assert ["pos_weight" in config["main_loss"], config["exits"], len(config["views"] or [None])] == rest
    assert config["pretrained"] is True and config["sampling"] is None
    assert names(config["normalize"])[0] == "NormalizeIntensityd"


def test_amounts_that_the_papers_name() -> None:
    warp = {name: parse(name).config["random_transforms"][0] for name in TABLE if name.startswith("gatech")}
    few, many = warp["gatech_baseline"], warp["gatech_augmentations"]
    assert (few["shift"], tuple(few["scale"]), few["rotate"], few["prob"]) == (0.01, SMALL, 15, 0.5)
    assert tuple(few["flip_prob"]) == FLIP and tuple(many["flip_prob"]) == (0.5, 0.5)
    assert tuple(many["scale"]) == ALL and many["distort_prob"] == 0.2 and warp["gatech_multitask_b3"] == few
    holes = [s for s in parse("gatech_augmentations").config["random_transforms"] if "holes" in s]
    assert [(s["holes"], s["spatial_size"], s["prob"]) for s in holes] == [(8, 5, 0.5), (8, 5, 0.7)]
    weights = [head["weight"] for head in parse("gatech_multitask_b3").config["heads"]]
    assert weights == [0.8, 0.05, 0.05, 0.05, 0.05]
    distilled = parse("gatech_self_distillation").config
    assert (distilled["dropout"], distilled["pooling"]) == (0.2, "average_max")
    others = parse("michigan_auxiliary_cnn").config["heads"][1:]
    assert sum(head["weight"] for head in others) == pytest.approx(1, abs=1e-3)
    assert {head["name"] for head in others if head.get("kind") == "number"} == {"age"}
    assert parse("michigan_roi_crop").config["wish"] == "fixed=.5"
    assert parse("michigan_threshold").config["wish"] == "best_f1"


def settings(name: str | None) -> dict:
    return {k: v for k, v in parse(name).config.items() if k not in ("_desc_", "experiment", "after")}


def test_no_two_experiments_resolve_alike() -> None:
    every = {name: settings(name) for name in (*(path.stem for path in FOLDER.glob("*.json")), None)}
    same = {(a, b) for a, b in combinations(every, 2) if every[a] == every[b]}
    assert same == set()
    decisions = ("wish",)
    bare = {name: {k: v for k, v in found.items() if k not in decisions} for name, found in every.items()}
    alike = {frozenset((a, b)) for a, b in combinations(bare, 2) if bare[a] == bare[b]}
    assert all(pair & EVALUATION_ONLY for pair in alike) and len(alike) == 1


def test_the_table_holds_all_experiments_and_their_chains_exist() -> None:
    there = {path.stem for path in FOLDER.glob("*.json")}
    assert there == set(TABLE) | {name for name in there if name.startswith("ladder_")} and len(TABLE) == 16
    for name in there:
        chain = chained("rsna_classifier", name)
        assert chain[-1] == name and set(chain) <= there
        before = json.loads((FOLDER / f"{name}.json").read_text())["after"]
        assert not before or chained("rsna_classifier", before[-1]) == chain[:-1], "a chain repeats the one before it"


def test_the_ladder_ends_one_step_below_ours() -> None:
    top, ours = settings("ladder_self_distillation"), settings(None)
    assert {key for key in ours if ours[key] != top[key]} == {"views", "fusion"}


@pytest.mark.parametrize("name", [None, *TABLE, "ladder_baseline", "ladder_augmentation"])
def test_laterality_is_no_target_of_images_that_lost_it(name: str | None) -> None:
    """Either nothing turns the breast and every mirrored image changes its target, or there is no such head."""
    config = parse(name).config
    heads = [head["name"] for head in config["heads"]]
    steps = [*config["crop"], *config["random_transforms"]]
    if "laterality" in heads:
        assert "OrientBreastd" not in names(steps) and not [n for n in names(steps) if "Flip" in n]
        mirrors = [s for s in steps if s.get("flip_prob", [0])[0]]
        assert mirrors and all(s["laterality_key"] == "laterality" for s in mirrors)


SMALL_BACKBONES = {CNN: "resnet10t", VIT: "test_vit", S: "test_efficientnet"}


@pytest.mark.parametrize("name", [None, *(n for n in TABLE if n not in EVALUATION_ONLY)])
def test_one_step_moves_what_it_should(name: str | None, rsna_prepared: Path) -> None:
    """All weights of the network, and with a frozen backbone those of the heads alone."""
    parser = parse(name)
    backbone = SMALL_BACKBONES.get(parser.config["backbone"], "test_efficientnet")
    for frozen in (False, True):
        parser = parse(name, backbone=backbone, dataset_dir=str(rsna_prepared), image_size=[64, 64], batch_size=4,
                       pretrained=False, freeze_backbone=frozen, num_workers=0, learning_rate=0.01,
                       dropout=0.0)  # fmt: skip
        network = parser.get_parsed_content("network").train()
        before = {key: value.clone() for key, value in network.named_parameters()}
        batch = next(iter(parser.get_parsed_content("train#dataloader")))
        optimizer = parser.get_parsed_content("optimizer")
        for group in optimizer.param_groups:
            group["lr"] = 0.01  # a schedule may start from nothing
        for _ in range(2):
            optimizer.zero_grad()
            parser.get_parsed_content("loss")(network(batch["image"]), batch["target"]).backward()
            optimizer.step()
        moved = {key for key, value in network.named_parameters() if not torch.equal(value, before[key])}
        still = {key for key in before if key.startswith("maps.")} if frozen else set()
        assert not moved & still
        assert {k for k in set(before) - moved - still if "view" not in k} == set()

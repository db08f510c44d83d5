"""Every system of papers 002 and 004 resolves to its settings, and to nobody else's; stages move what they should."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from common.data.bundle import chained, config_files
from common.networks.freezing import layers_of

BUNDLE = "cbis_patch_classifier"
FOLDER = Path(__file__).parents[2] / "bundles" / BUNDLE / "configs" / "experiments"
FIVE = ["background", "benign calcification", "malignant calcification", "benign mass", "malignant mass"]
STAGES = [(30, 0.0), (20, "$1 / 3"), (50, "$2 / 3")]
SIMPLE, FULL = ["flip across"], ["flip across", "flip down", "rotate", "scale", "shift"]
KERAS = ["flip across", "rotate", "scale", "shear", "shift"]
# the papers' table: backbone, pretrained, head, hidden units, what trains at first, stages, optimizer, rate, batch,
# epochs, augmentation, contexts, kinds, classes
Row = tuple[str, bool, str, int, Any, Any, str, float, int, int, list[str], list[str], list[str] | None, list[str]]
TWO, BOTH = ["malignant"], None


def tuebingen(name: str, head: str, rate: float, optimizer: str = "adam", steps: Any = (), last: Any = 0.0) -> Row:
    hidden = 128 if name == "resnet50" else 0
    return (name, True, head, hidden, last, None, optimizer, rate, 32, 30, list(steps), ["crop"], BOTH, TWO)


def mit(contexts: list[str], kind: str | None, steps: list[str], name: str = "mobilenetv2_100", **other: Any) -> Row:
    scratch, classes = other.get("scratch", False), other.get("classes", TWO)
    stages = None if scratch else STAGES
    kinds = None if kind is None else [kind]
    return (name, not scratch, "average", 0, 1.0, stages, "adam", 1e-4, 32, 100, steps, contexts, kinds, classes)


M, C, S, L = "mass", "calcification", ["small"], ["large"]
TABLE: dict[str, Row] = {
    "tuebingen_vgg16": tuebingen("vgg16", "flatten", 1e-5),
    "tuebingen_vgg16_gap": tuebingen("vgg16", "average", 1e-5),
    "tuebingen_vgg16_nadam": tuebingen("vgg16", "flatten", 1e-4, "nadam"),
    "tuebingen_vgg16_augmented": tuebingen("vgg16", "flatten", 1e-5, steps=KERAS),
    "tuebingen_vgg16_keep_aspect": tuebingen("vgg16", "flatten", 1e-5),
    "tuebingen_vgg16_breastnet": tuebingen("vgg16", "flatten", 1e-4, steps=["Variantd"]),
    "tuebingen_resnet50": tuebingen("resnet50", "average", 1e-4, "nadam"),
    "tuebingen_resnet50_flatten": tuebingen("resnet50", "flatten", 1e-4, "nadam"),
    "tuebingen_resnet50_finetuned": tuebingen("resnet50", "flatten", 1e-4, "nadam", last=1),
    "tuebingen_resnet50_breastnet": tuebingen("resnet50", "flatten", 1e-4, "nadam", ["Variantd"], last=1),
    "mit_five_class": mit(["small", "background"], None, SIMPLE, classes=FIVE),
    "mit_five_class_scratch": mit(["small", "background"], None, SIMPLE, classes=FIVE, scratch=True),
    "mit_mass_small": mit(S, M, SIMPLE),
    "mit_calc_small": mit(S, C, SIMPLE),
    "mit_mass_small_scratch": mit(S, M, SIMPLE, scratch=True),
    "mit_calc_small_scratch": mit(S, C, SIMPLE, scratch=True),
    "mit_mass_large": mit(L, M, SIMPLE),
    "mit_calc_large": mit(L, C, SIMPLE),
    "mit_mass_large_noaug": mit(L, M, []),
    "mit_calc_large_noaug": mit(L, C, []),
    "mit_mass_large_full": mit(L, M, FULL),
    "mit_calc_large_full": mit(L, C, FULL),
    "mit_mass_inception": mit(L, M, FULL, "inception_v3"),
    "mit_calc_inception": mit(L, C, SIMPLE, "inception_v3"),
}
KEYS = (
    "backbone",
    "pretrained",
    "head",
    "hidden",
    "trainable",
    "optimizer_name",
    "learning_rate",
    "batch_size",
    "epochs",
)


def parse(name: str | None, **overrides: Any) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(config_files(BUNDLE, name))
    parser.update(overrides)
    return parser


def augmentation(transforms: list[dict]) -> list[str]:
    """What random transforms do, in words."""
    found = []
    for one in transforms:
        if not one["_target_"].endswith("RandWarpd"):
            found.append(str(one["_target_"]).rpartition(".")[2])
            continue
        across, down = one.get("flip_prob", (0, 0))
        found += ["flip across"] * bool(across) + ["flip down"] * bool(down)
        found += [key for key in ("rotate", "scale", "shear", "shift") if key in one]
    return found


@pytest.mark.parametrize("name", TABLE)
def test_an_experiment_is_the_papers_row(name: str) -> None:
    config, row = parse(name).config, TABLE[name]
    wanted = dict(zip((*KEYS[:5], "stages", *KEYS[5:]), row[:10], strict=True))
    assert {key: config[key] for key in KEYS} == {key: wanted[key] for key in KEYS}
    assert type(config["trainable"]) is type(wanted["trainable"])  # 1 is a layer, 1.0 is all of them
    stages = config["stages"] and [(stage["epochs"], stage["trainable"]) for stage in config["stages"]]
    assert stages == wanted["stages"]
    classes = [value for head in config["heads"] for value in head.get("values", [head["name"]])]
    found = [augmentation(config["random_transforms"]), config["contexts"], config["kinds"], classes]
    assert found == list(row[10:])
    assert config["image_size"] == [224, 224] and config["in_channels"] == 3
    assert config["lr_scheduler"]["_target_"].endswith("ConstantLR") and config["weight_decay"] == 0
    assert config["wish"] == "fixed=.5" and config["calibration"] is None and config["sampling"] is None


def test_amounts_that_the_papers_name() -> None:
    (keras,) = parse("tuebingen_vgg16_augmented").config["random_transforms"]
    amounts = {key: keras[key] for key in ("rotate", "scale", "shear", "shift", "keep_aspect", "padding")}
    assert amounts == {
        "rotate": 40,
        "scale": [0.8, 1.2],
        "shear": 0.2,
        "shift": 0.2,
        "keep_aspect": False,
        "padding": "border",
    }
    kept = [step["_target_"] for step in parse("tuebingen_vgg16_keep_aspect").config["resize"]]
    assert kept == ["common.transforms.shape.ResizeToFitd", "SpatialPadd"]
    for name in ("tuebingen_vgg16_breastnet", "tuebingen_resnet50_breastnet"):
        assert parse(name).config["train"]["items"]["_target_"].endswith("with_variants")


def settings(name: str | None) -> dict:
    return {k: v for k, v in parse(name).config.items() if k not in ("_desc_", "experiment", "after")}


def test_no_two_experiments_resolve_alike() -> None:
    every = {name: settings(name) for name in (*(path.stem for path in FOLDER.glob("*.json")), None)}
    assert not [(a, b) for a, b in combinations(every, 2) if every[a] == every[b]]


def test_the_table_holds_all_experiments_and_their_chains_exist() -> None:
    there = {path.stem for path in FOLDER.glob("*.json")}
    assert there == set(TABLE) and len(TABLE) == 24
    for name in there:
        before = json.loads((FOLDER / f"{name}.json").read_text())["after"]
        assert not before or chained(BUNDLE, before[-1]) == chained(BUNDLE, name)[:-1]


def one_step(parser: ConfigParser, network: torch.nn.Module) -> set[str]:
    """Train on one batch, and return the names of the parameters and statistics that moved."""
    before = {key: value.clone() for key, value in network.state_dict().items()}
    batch = next(iter(parser.get_parsed_content("train#dataloader")))
    optimizer = parser.get_parsed_content("optimizer")
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    parser.get_parsed_content("loss")(network(batch["image"]), batch["target"]).backward()
    optimizer.step()
    return {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}


def small(name: str | None, prepared: Path, **more: Any) -> ConfigParser:
    size = [80, 80] if "inception" in str(name) else [64, 64]
    return parse(name, dataset_dir=str(prepared), image_size=size, batch_size=4, pretrained=False, num_workers=0,
                 cache_rate=0.0, **more)  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [None, "tuebingen_vgg16", "tuebingen_vgg16_gap", "tuebingen_resnet50", "tuebingen_resnet50_finetuned",
     "mit_mass_small_scratch"],
)  # fmt: skip
def test_one_step_moves_what_it_should(name: str | None, cbis_prepared: Path) -> None:
    parser = small(name, cbis_prepared)
    network = parser.get_parsed_content("network").train()
    moved = one_step(parser, network)
    trainable = {key for key, value in network.named_parameters() if value.requires_grad}
    layers, share = layers_of(network.maps.backbone), parser.config["trainable"]
    number = sum(any(value.requires_grad for value in layer.parameters()) for layer in layers)
    expected = {float: {0.0: 0, 1.0: len(layers)}, int: {1: 2}}  # the last layer is a convolution with its statistics
    assert number == expected[type(share)][share]
    weights = {key for key in moved if not key.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert weights <= trainable and all(key in weights for key in trainable if "head" in key)
    if number == 0:
        assert moved == weights  # statistics of layers held still stay as they are


@pytest.mark.parametrize("name", ["mit_five_class", "mit_mass_inception"])
def test_stages_let_go_of_the_backbone_from_its_end(name: str, cbis_prepared: Path) -> None:
    parser = small(name, cbis_prepared)
    network = parser.get_parsed_content("network")
    stages = parser.get_parsed_content("stages")
    layers = layers_of(network.maps.backbone)
    for stage in stages:
        network.unfreeze(stage["trainable"])
        still = list(network.train().still)
        moved = one_step(parser, network)
        own = {id(value) for layer in still for value in (*layer.parameters(), *layer.buffers())}
        assert not [key for key in moved if id(network.state_dict(keep_vars=True)[key]) in own]
        assert all(not layer.training for layer in still) and layers[: len(still)] == still
        free = len(layers) - len(still)
        convolutions = [layer for layer in layers if isinstance(layer, torch.nn.Conv2d)]
        released = [layer for layer in convolutions if layer.weight.requires_grad]
        assert len(released) == pytest.approx(len(convolutions) * stage["trainable"], abs=1)
        assert (free == 0) == (stage["trainable"] == 0.0)
        network.zero_grad()


def test_variants_enlarge_training_alone(cbis_prepared: Path) -> None:
    plain, eight = (small(name, cbis_prepared) for name in ("tuebingen_vgg16", "tuebingen_vgg16_breastnet"))
    items = [parser.get_parsed_content("train#items") for parser in (plain, eight)]
    assert len(items[1]) == 8 * len(items[0])
    assert len({item["variant"] for item in items[1]}) == 8
    dataset = eight.get_parsed_content("train#dataset")
    pictures = [dataset[i]["image"] for i in range(8)]
    assert all(not torch.equal(one, two) for one, two in combinations(pictures, 2))
    ones, others = (parser.get_parsed_content("validate#dataset") for parser in (plain, eight))
    assert len(ones) == len(others) and torch.equal(ones[0]["image"], others[0]["image"])

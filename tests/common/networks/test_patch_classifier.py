from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from ignite.engine import Engine

from common.handlers.stages import StagedUnfreezing
from common.networks.freezing import first_trainable, layers_of
from common.networks.mammogram_classifier import MammogramClassifier
from common.networks.patch_classifier import PatchClassifier

SIZE = (64, 64)


def make(backbone: str = "resnet10t", **options) -> PatchClassifier:
    torch.manual_seed(0)
    return PatchClassifier(backbone, 5, SIZE, pretrained=False, **options)


@pytest.mark.parametrize("head", ["flatten", "average"])
@pytest.mark.parametrize("backbone", ["vgg11", "resnet10t", "mobilenetv2_035", "test_vit"])
def test_patches_become_logits(backbone: str, head: str) -> None:
    options = {"img_size": list(SIZE)} if backbone == "test_vit" else {}
    network = make(backbone, head=head, hidden=16, dropout=0.1, options=options)
    assert network(torch.randn(2, 1, *SIZE)).shape == (2, 5)
    assert sum(p.numel() for p in network.parameters()) < 30e6  # VGG's own dense layers are gone


def test_a_part_of_the_backbone_is_held_still_with_its_statistics() -> None:
    network = make(trainable=1 / 3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.1)
    network.train()(torch.randn(4, 1, *SIZE)).square().sum().backward()
    optimizer.step()
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    layers = layers_of(network.maps.backbone)
    first = first_trainable(layers, 1 / 3)
    still = {name for name, module in network.named_modules() if any(module is layer for layer in layers[:first])}
    assert still and not [name for name in moved if name.rpartition(".")[0] in still]
    assert any(name.startswith("maps.") for name in moved) and "head.1.weight" in moved


def test_shares_and_numbers_of_layers() -> None:
    layers = layers_of(torch.nn.Sequential(*[torch.nn.Conv2d(1, 1, 1) for _ in range(6)]))
    assert [first_trainable(layers, t) for t in (0.0, 1 / 3, 2 / 3, 1.0, 0, 1, 6)] == [6, 4, 2, 0, 6, 5, 0]
    for bad in (1.5, 7, -1):
        with pytest.raises(ValueError, match="cannot be trained"):
            first_trainable(layers, bad)


def test_stages_depend_on_the_epoch_alone() -> None:
    network = make()
    stages = [{"epochs": 2, "trainable": 0.0}, {"epochs": 1, "trainable": 1 / 3}, {"epochs": 3, "trainable": 1.0}]
    seen: list[int] = []

    def step(engine: Engine, batch: int) -> None:
        seen.append(sum(p.requires_grad for p in network.maps.parameters()))

    engine = Engine(step)
    StagedUnfreezing(network, stages).attach(engine)
    engine.run([0], max_epochs=7)
    assert seen[0] == seen[1] == 0 < seen[2] < seen[3] == seen[6] == len(list(network.maps.parameters()))
    again = StagedUnfreezing(network, stages)
    assert [again.stage_of(epoch)["trainable"] for epoch in (2, 3, 4, 99)] == [0.0, 1 / 3, 1.0, 1.0]
    with pytest.raises(ValueError, match="Stages are a list"):
        StagedUnfreezing(network, [])


def test_an_unknown_head_is_refused() -> None:
    with pytest.raises(ValueError, match="The head is one of"):
        make(head="max")


@pytest.mark.parametrize("inside", [True, False], ids=["of a classifier", "of timm's network"])
def test_a_classifier_of_mammograms_starts_from_one_of_patches(tmp_path: Path, inside: bool) -> None:
    patches = PatchClassifier("resnet10t", 5, (64, 64), in_channels=1, pretrained=False)
    whole = timm.create_model("resnet10t", in_chans=1, num_classes=7)
    torch.save((patches if inside else whole).state_dict(), tmp_path / "patches.pt")
    heads = [{"name": "cancer"}]
    for exits, pooling in ((0, "native"), (2, "average_max")):
        options = {"exits": exits, "pooling": pooling, "weights": tmp_path / "patches.pt"}
        found = MammogramClassifier("resnet10t", heads, **options).maps.backbone.state_dict()
        source = (patches.maps.backbone if inside else whole).state_dict()
        assert all(torch.equal(value, source[key]) for key, value in found.items())
    with pytest.raises(ValueError, match="of another network"):
        MammogramClassifier("resnet14t", heads, weights=tmp_path / "patches.pt")


def test_stages_set_the_rate_and_keep_the_momentum_of_what_trained_before() -> None:
    network = make(trainable=0.0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    stages = [{"epochs": 1, "trainable": 0.0}, {"epochs": 1, "trainable": 1.0, "rate": 0.1}]
    seen: list[tuple[float, int]] = []

    def step(engine: Engine, batch: int) -> None:
        optimizer.zero_grad()
        network(torch.rand(2, 1, *SIZE)).square().sum().backward()
        optimizer.step()
        seen.append((optimizer.param_groups[0]["lr"], len(optimizer.state)))

    engine = Engine(step)
    StagedUnfreezing(network, stages, optimizer).attach(engine)
    engine.run([0], max_epochs=3)
    heads, everything = (len(list(part.parameters())) for part in (network.head, network))
    assert [(pytest.approx(rate), number) for rate, number in seen] == [(0.1, heads), *[(0.01, everything)] * 2]

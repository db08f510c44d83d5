"""Any timm backbone, any list of heads, any subset of views; what is trained, exported and looked at."""

from __future__ import annotations

import warnings

import numpy as np
import onnxruntime
import pytest
import torch

from common.networks.mammogram_classifier import FuseViews, MammogramClassifier, Pool
from common.networks.saliency import grad_cam

HEADS = [
    {"name": "cancer"},
    {"name": "view", "kind": "classes", "values": list("abcd")},
    {"name": "age", "kind": "number"},
]
SIZE = (64, 48)
TOKENS = {"options": {"img_size": list(SIZE)}}
KINDS = {
    "resnet": ("resnet10t", {}),
    "self-distillation": ("resnet10t", {"exits": 2, "pooling": "average_max"}),
    "efficientnet, gem": ("test_efficientnet", {"pooling": "gem"}),
    "efficientnet, exits": ("test_efficientnet", {"exits": 2, "pooling": "average"}),
    "transformer": ("test_vit", TOKENS),
    "transformer, maps": ("test_vit", {**TOKENS, "pooling": "max"}),
    "views, attention": ("resnet10t", {"views": 2, "fusion": "attention"}),
    "views, mean, exits": ("resnet10t", {"views": 3, "exits": 1, "pooling": "average"}),
    "three channels": ("resnet10t", {"in_channels": 3}),
    "checkpointing": ("resnet10t", {"checkpointing": True, "dropout": 0.2}),
}


def make(kind: str, **more) -> tuple[MammogramClassifier, torch.Tensor]:
    torch.manual_seed(0)
    backbone, options = KINDS[kind]
    network = MammogramClassifier(backbone, HEADS, pretrained=False, **{**options, **more})
    return network, torch.randn(2, options.get("views", 1), 1, *SIZE)


@pytest.mark.parametrize("kind", KINDS)
def test_one_tensor_of_logits_comes_out_and_exits_while_training(kind: str) -> None:
    network, images = make(kind)
    exits = KINDS[kind][1].get("exits", 0)
    pred = network.train()(images)
    assert pred.shape == (2, 6 + exits)
    pred.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters() if p.requires_grad)
    assert network.eval()(images).shape == (2, 6)


@pytest.mark.parametrize("fusion", ["mean", "attention"])
def test_a_missing_view_has_no_say(fusion: str) -> None:
    network, images = make("views, attention", fusion=fusion)
    network.eval()
    images[1, 1] = 0
    alone, both = network(images)[1], network(images)[0]
    noise = images.clone()
    noise[1, 0] += 1
    assert not torch.allclose(network(noise)[1], alone)
    swapped = FuseViews(4, 2, fusion)
    features = torch.randn(1, 2, 4)
    only = swapped(features, torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(only, features[:, 0])
    assert both.isfinite().all() and network(torch.zeros_like(images)).isfinite().all()


def test_the_order_of_views_does_not_matter_to_their_mean_but_to_attention() -> None:
    features, there = torch.randn(1, 2, 4), torch.ones(1, 2)
    mean, attention = FuseViews(4, 2), FuseViews(4, 2, "attention")
    torch.testing.assert_close(mean(features, there), mean(features.flip(1), there))
    torch.nn.init.normal_(attention.view)
    assert not torch.allclose(attention(features, there), attention(features.flip(1), there))


def test_pooling_by_hand() -> None:
    maps = torch.tensor([[[[1.0, 3.0]]]])
    assert Pool("average")(maps).tolist() == [[2]] and Pool("max")(maps).tolist() == [[3]]
    assert Pool("average_max")(maps).tolist() == [[2, 3]]
    assert Pool("gem")(maps).item() == pytest.approx(((1 + 27) / 2) ** (1 / 3))


def test_a_frozen_backbone_keeps_weights_and_statistics() -> None:
    network, images = make("resnet", freeze_backbone=True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.1)
    network.train()(images).sum().backward()
    optimizer.step()
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"head.1.weight", "head.1.bias"}


def test_checkpointing_changes_no_gradient() -> None:
    grads = []
    for on in (False, True):
        network, images = make("resnet", checkpointing=on)
        network.train()(images).sum().backward()
        grads.append([p.grad for p in network.parameters()])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*grads, strict=True))


def test_what_is_not_possible_is_refused() -> None:
    network, images = make("views, attention")
    with pytest.raises(ValueError, match="takes 2 views of a breast, not 1"):
        network(images[:, :1])
    with pytest.raises(ValueError, match="pooling is one of"):
        make("resnet", pooling="median")
    with pytest.raises(ValueError, match="with deep exits pooling is not native"):
        make("resnet", exits=1)


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "checkpointing"])
def test_torchscript_and_onnx_answer_alike(kind: str, tmp_path) -> None:
    network, images = make(kind)
    network.eval()
    with torch.no_grad():
        expected = network(images)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.save(torch.jit.trace(network, images), tmp_path / "a.ts")
            torch.onnx.export(network, (images,), str(tmp_path / "a.onnx"), dynamo=False, input_names=["image"])
    torch.testing.assert_close(torch.jit.load(tmp_path / "a.ts")(images), expected, atol=1e-5, rtol=1e-4)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    np.testing.assert_allclose(session.run(None, {"image": images.numpy()})[0], expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("kind", ["resnet", "self-distillation", "transformer", "views, attention"])
def test_saliency_lies_where_the_answer_comes_from(kind: str) -> None:
    """Pixels that are hot change the logit more than pixels that are not."""
    network, images = make(kind)
    heat = grad_cam(network.eval(), images)
    assert heat.shape == (*images.shape[:2], *SIZE) and heat.min() >= 0 and heat.max() <= 1 + 1e-6
    assert all(p.grad is None for p in network.parameters())


def test_saliency_finds_the_only_place_that_counts() -> None:
    network, _ = make("resnet", pooling="average")
    for module in network.modules():  # a network that passes brightness on, wherever it is
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.constant_(module.weight, 1 / module.weight[0].numel())
    torch.nn.init.ones_(network.head[1].weight)
    image = torch.zeros(1, 1, 1, 128, 128)
    image[..., 80:112, 16:48] = 1
    heat = grad_cam(network.eval(), image)[0, 0]
    row, column = divmod(int(heat.argmax()), 128)
    assert 64 <= row < 128 and column < 64

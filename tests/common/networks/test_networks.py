from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from common.networks.backbone import timm_network
from common.networks.cascade import Cascade
from common.networks.ensemble import ensemble_of
from common.networks.inferers import PlainInferer
from common.networks.joint_attention_unet import JointAttentionUnet
from common.networks.outputs import join_outputs, split_outputs
from common.networks.weights import load_weights, save

SMALL = {"channels": (8, 16, 24, 32), "blocks": (1, 1, 1, 1)}


@pytest.mark.parametrize("size", [(64, 64), (33, 57)], ids=["even", "odd"])
def test_one_tensor_comes_out_at_the_input_size(size) -> None:
    pred = JointAttentionUnet(**SMALL).eval()(torch.rand(2, 1, *size))
    assert pred.shape == (2, 4, *size)
    assert torch.equal(pred[:, 1:], pred[:, 1:, :1, :1].expand(-1, -1, *size))


def test_outputs_come_apart_as_they_were_joined() -> None:
    mask, classes = torch.rand(2, 1, 4, 5), torch.rand(2, 3)
    parts = split_outputs(join_outputs(mask, classes), ["mask", "class"])
    assert torch.equal(parts["mask"], mask)
    torch.testing.assert_close(parts["class"], classes)
    with pytest.raises(ValueError, match="outputs"):
        split_outputs(mask, ["class", "mask"])


def test_the_class_head_does_not_steer_the_mask() -> None:
    network = JointAttentionUnet(**SMALL)
    network(torch.rand(2, 1, 32, 32))[:, 1:].sum().backward()
    assert network.mask_head.weight.grad is None or not network.mask_head.weight.grad.any()


def test_flips_make_an_inferer_symmetric() -> None:
    network, image = JointAttentionUnet(**SMALL).eval(), torch.rand(1, 1, 32, 32)
    infer = PlainInferer(flips=True)
    torch.testing.assert_close(infer(image, network), infer(image.flip(-1), network).flip(-1))


def test_a_cascade_joins_two_networks() -> None:
    cascade = Cascade(timm_network("resnet18", 1, 3, pretrained=False), torch.nn.Conv2d(1, 1, 3, padding=1)).eval()
    assert cascade(torch.rand(2, 1, 256, 256)).shape == (2, 4, 256, 256)


def test_an_unknown_backbone_names_its_neighbours() -> None:
    with pytest.raises(ValueError, match=r"resnet18000.*resnet"):
        timm_network("resnet18000", pretrained=False)


def test_pretrained_weights_offline_fail_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OSError, match="--pretrained false"):
        timm_network("resnet18", 1, 3, pretrained=True)


def test_weights_that_find_the_disk_full_say_so_and_lose_nothing(tmp_path: Path) -> None:
    old = torch.nn.Linear(2, 2).state_dict()
    save(tmp_path / "model.pt", old)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match="free some space"):
            save(tmp_path / "model.pt", torch.nn.Linear(100, 100).state_dict())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]
    assert torch.equal(torch.load(tmp_path / "model.pt", weights_only=True)["weight"], old["weight"])


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "m.pt", timm_network("resnet18", 1, 3, pretrained=False).state_dict())
    with pytest.raises(ValueError, match=r"another network than JointAttentionUnet"):
        load_weights(JointAttentionUnet(**SMALL), tmp_path / "m.pt")
    (tmp_path / "bad.pt").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"damaged"):
        load_weights(JointAttentionUnet(**SMALL), tmp_path / "bad.pt")
    with pytest.raises(FileNotFoundError, match=r"gone\.pt"):
        load_weights(JointAttentionUnet(**SMALL), tmp_path / "gone.pt")


def test_an_ensemble_is_the_mean_of_its_members(tmp_path: Path) -> None:
    network, image = JointAttentionUnet(**SMALL).eval(), torch.rand(1, 1, 32, 32)
    files = [tmp_path / "a.pt", tmp_path / "b.pt"]
    outputs = []
    for file in files:
        member = JointAttentionUnet(**SMALL).eval()
        save(file, member.state_dict())
        outputs.append(member(image))
    torch.testing.assert_close(ensemble_of(network, files).eval()(image), torch.stack(outputs).mean(0))
    with pytest.raises(ValueError, match="at least one member"):
        ensemble_of(network, [])

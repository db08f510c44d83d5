"""A classifier of patches slides over a mammogram: alone in each window, or on maps that all windows share."""

from __future__ import annotations

import pytest
import torch

from common.networks.patch_classifier import PatchClassifier
from common.networks.sliding import SlidingPatches


def network_of(backbone: str, head: str = "average", size: int = 96, classes: int = 3) -> PatchClassifier:
    torch.manual_seed(0)
    network = PatchClassifier(backbone, classes, (size, size), in_channels=1, pretrained=False, head=head)
    for module in network.modules():  # as after some training: statistics that are not those of noise
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    network.train()(torch.rand(8, 1, size, size))
    return network.eval()


def picture(rows: int, columns: int) -> torch.Tensor:
    noise = torch.rand(1, 1, rows // 8, columns // 8, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(noise, (rows, columns), mode="bicubic")


def test_each_window_is_the_patch_cut_out() -> None:
    network, image = network_of("resnet10t"), picture(200, 240)
    slide = SlidingPatches((96, 96), stride=40, batch_size=3, way="each")
    found = slide(image, network)
    assert found.shape == (1, 3, *slide.grid((200, 240))) == (1, 3, 3, 4)
    for row in range(3):
        for column in range(4):
            patch = image[..., 40 * row : 40 * row + 96, 40 * column : 40 * column + 96]
            torch.testing.assert_close(found[0, :, row, column], network(patch)[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("backbone", ["resnet10t", "inception_v3"])  # the latter's first layers do not pad
def test_shared_maps_are_those_of_patches_with_their_surroundings(backbone: str) -> None:
    """Cut out with enough tissue around it, a patch gets the window's very logits: away from the borders to 1e-3."""
    network, image = network_of(backbone), picture(640, 608)
    found = SlidingPatches((96, 96), stride=64, way="shared", tile=256, halo=224)(image, network)
    around, step = 224, network.step
    rows, columns = network.map_size
    for row, column in [(4, 4), (4, 5)]:
        top, left = 64 * row, 64 * column
        part = image[..., top - around : top + 96 + around, left - around : left + 96 + around]
        first = around // step
        maps = network.features(part)[..., first : first + rows, first : first + columns]
        expected = network.head(maps.mean((2, 3)))[0]
        torch.testing.assert_close(found[0, :, row, column].sigmoid(), expected.sigmoid(), atol=1e-3, rtol=0)


def test_tiles_leave_no_seam() -> None:
    network, image = network_of("resnet10t"), picture(512, 416)
    at_once, in_tiles = (
        SlidingPatches((96, 96), stride=32, way="shared", tile=tile, halo=256)(image, network) for tile in (4096, 128)
    )
    torch.testing.assert_close(in_tiles.sigmoid(), at_once.sigmoid(), atol=1e-3, rtol=0)


def test_what_lies_outside_is_left_out() -> None:
    network, image = network_of("resnet10t"), picture(256, 256)
    inside = torch.zeros(1, 1, 256, 256, dtype=torch.bool)
    inside[..., :140, :] = True
    for way in ("each", "shared"):
        found = SlidingPatches((96, 96), stride=32, way=way)(image, network, inside=inside)
        assert torch.isnan(found[0, 0]).all(1).tolist() == [False, False, False, True, True, True]
    nothing = SlidingPatches((96, 96), stride=32, way="each")(image, network, inside=torch.zeros_like(inside))
    assert torch.isnan(nothing).all()


def test_shares_where_it_can() -> None:
    network = network_of("resnet10t")
    assert SlidingPatches(stride=64)._shares(network) and not SlidingPatches(stride=40)._shares(network)
    assert not SlidingPatches(stride=32)._shares(network_of("resnet10t", head="flatten"))


@pytest.mark.parametrize(
    ("way", "head", "shape", "message"),
    [
        ("shared", "flatten", (1, 1, 128, 128), "--head average"),
        ("twice", "average", (1, 1, 128, 128), "Unknown way 'twice'"),
        ("auto", "average", (2, 1, 128, 128), "One image"),
        ("auto", "average", (1, 1, 64, 128), "of at least"),
    ],
)
def test_what_cannot_slide_says_why(way: str, head: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SlidingPatches((96, 96), stride=32, way=way)(torch.rand(shape), network_of("resnet10t", head))

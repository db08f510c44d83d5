"""A classifier of patches slides over a mammogram: alone in each window, or on maps that all windows share."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from common.networks.patch_classifier import PatchClassifier
from common.networks.sliding import SlidingPatches
from common.reports.sliding_speed import enliven


@cache
def network_of(backbone: str, head: str = "average", size: int = 96, classes: int = 3) -> PatchClassifier:
    torch.manual_seed(0)
    network = PatchClassifier(backbone, classes, (size, size), in_channels=1, pretrained=False, head=head)
    return enliven(network, picture(4 * size, 4 * size))


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


BACKBONES = ("resnet10t", "vgg11", "mobilenetv2_035", "inception_v3")  # the last one's first layers do not pad


@pytest.mark.parametrize("backbone", BACKBONES)
def test_shared_maps_are_those_of_patches_with_their_surroundings(backbone: str) -> None:
    """Cut out with enough tissue around it, a patch gets the window's very logits: away from the borders to 1e-3."""
    network = network_of(backbone)
    around, step = network.reach + network.step, network.step
    image = picture(96, 2 * around + 160)
    found = SlidingPatches((96, 96), stride=64, way="shared", tile=256)(image, network)
    columns = network.map_size[1]
    for column in (around // 64, around // 64 + 1):
        left = 64 * column
        before = min(left, around)
        maps = network.features(image[..., left - before : left + 96 + around])
        expected = network.head(maps[..., before // step : before // step + columns].mean((2, 3)))[0]
        torch.testing.assert_close(found[0, :, 0, column].sigmoid(), expected.sigmoid(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_tiles_leave_no_seam(backbone: str, upright: bool) -> None:
    network = network_of(backbone)
    image = picture(96, 2 * network.reach + 480)
    image = image.mT.contiguous() if upright else image
    at_once, in_tiles = (
        SlidingPatches((96, 96), stride=32, way="shared", tile=tile)(image, network) for tile in (4096, 128)
    )
    assert at_once.std() > 1e-3  # the network tells its windows apart
    torch.testing.assert_close(in_tiles, at_once, atol=1e-4, rtol=1e-4)


def test_a_smaller_surrounding_would_leave_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    network, image = network_of("resnet10t"), picture(96, 800)
    whole = SlidingPatches((96, 96), stride=32, way="shared", tile=4096)(image, network)
    monkeypatch.setitem(network.__dict__, "reach", network.reach - 2 * network.step)
    found = SlidingPatches((96, 96), stride=32, way="shared", tile=128)(image, network)
    assert (found - whole).abs().max() > 1e-3


def test_a_backbone_that_sees_the_whole_image_shares_no_maps() -> None:
    network = network_of("efficientnet_b0")
    assert network.reach is None and not SlidingPatches(stride=32)._shares(network)
    with pytest.raises(ValueError, match="sees the whole image"):
        SlidingPatches((96, 96), stride=32, way="shared")(picture(96, 160), network)


def test_tiles_without_a_wanted_window_are_not_computed() -> None:
    network, image = network_of("resnet10t"), picture(96, 960)
    inside = torch.zeros(1, 1, 96, 960, dtype=torch.bool)
    inside[..., 300:480] = True
    seen: list[int] = []
    hook = network.maps.register_forward_hook(lambda module, args, output: seen.append(args[0].shape[3]))
    slide = SlidingPatches((96, 96), stride=32, way="shared", tile=128)
    found = slide(image, network, inside=inside)
    tiles = len(seen)
    everything = slide(image, network)
    hook.remove()
    assert tiles < len(seen) - tiles
    there = ~found.isnan()
    torch.testing.assert_close(found[there], everything[there])


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

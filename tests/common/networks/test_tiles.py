"""Detections in tiles become detections in the image, each lesion once."""

from __future__ import annotations

import pytest
import torch

from common.networks.merging import fused, grouped
from common.networks.tiles import TiledDetection


def boxes(*rows: tuple[float, float, float, float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def squares(images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """A detector that knows its business: bright rectangles, each surer the more of it a tile shows."""
    found = []
    for image in images:
        lit = image[0] > 0.5
        masks = torch.stack([lit & (image[0] == value) for value in image[0][lit].unique()]) if lit.any() else lit[:0]
        places = [mask.nonzero() for mask in masks]
        rows = [(*p.min(0).values.flip(0).tolist(), *(p.max(0).values + 1).flip(0).tolist()) for p in places]
        areas = torch.tensor([len(p) for p in places], dtype=torch.float32)
        one = {"boxes": boxes(*rows), "labels": torch.ones(len(rows), dtype=torch.int64), "scores": areas / 1000}
        found.append({**one, "masks": masks.reshape(len(rows), 1, *lit.shape).float()})
    return found


def picture() -> torch.Tensor:
    image = torch.zeros(1, 150, 230)
    image[0, 10:30, 20:44] = 0.7
    image[0, 55:75, 100:130] = 0.8  # on the edges of tiles of 64
    image[0, 140:150, 215:230] = 0.9  # in the last corner
    return image


@pytest.mark.parametrize("merge", ["nms", "wbf"])
def test_every_lesion_is_found_once_and_where_it_is(merge: str) -> None:
    (found,) = TiledDetection((64, 64), merge=merge, batch_size=3)([picture()], squares)
    order = found["boxes"][:, 0].argsort()
    expected = boxes((20, 10, 44, 30), (100, 55, 130, 75), (215, 140, 230, 150))
    tolerance = 0 if merge == "nms" else 8  # a mean of what several tiles saw
    torch.testing.assert_close(found["boxes"][order], expected, atol=tolerance, rtol=0)
    assert found["masks"].shape == (3, 150, 230) and found["masks"].dtype == torch.bool
    assert torch.equal(found["masks"].any(0), picture()[0] > 0.5)
    assert found["scores"].tolist() == sorted(found["scores"].tolist(), reverse=True)


def test_a_whole_image_and_one_smaller_than_a_tile() -> None:
    (whole,) = TiledDetection(None)([picture()], squares)
    assert len(whole["boxes"]) == 3 and whole["masks"].shape == (3, 150, 230)
    (small,) = TiledDetection((256, 256))([picture()], squares)
    assert len(small["boxes"]) == 3 and small["masks"].shape == (3, 150, 230)


def test_nothing_and_too_much() -> None:
    (nothing,) = TiledDetection((64, 64))([torch.zeros(1, 100, 100)], squares)
    assert nothing["boxes"].shape == (0, 4) and nothing["masks"].shape == (0, 100, 100)
    (found,) = TiledDetection((64, 64), detections=2)([picture()], squares)
    assert len(found["boxes"]) == 2


def test_a_part_cut_off_by_a_tile_belongs_to_its_whole() -> None:
    given = boxes((0, 0, 40, 40), (0, 0, 12, 40), (60, 0, 80, 20), (1, 0, 41, 40))
    scores, labels = torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([1, 1, 1, 2])
    groups = grouped(given, scores, labels, 0.3)
    assert [group.tolist() for group in groups] == [[0, 1], [2], [3]]  # another class is another lesion
    torch.testing.assert_close(fused(given, scores, groups)[1], given[2])
    assert fused(given[:0], scores[:0], []).shape == (0, 4)


def test_an_unknown_way_to_merge_is_refused() -> None:
    with pytest.raises(ValueError, match="nms"):
        TiledDetection((64, 64), merge="mean")

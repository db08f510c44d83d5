from __future__ import annotations

import logging
from collections import Counter

import pytest
import torch

from common.data.mammogram_items import join_views, seen_views, single
from common.data.samplers import item_weights, sampler_of


def image(name: str, view: str, side: str = "L", patient: str = "p", cancer: int = 0, **more) -> dict:
    facts = {"image": f"{name}.tif", "image_id": name, "view": view, "laterality": side, "patient_id": patient}
    return {**facts, "cancer": cancer, "age": 60, **more}


def test_the_views_of_a_breast_stand_in_their_places() -> None:
    items = [image("a", "MLO"), image("b", "CC"), image("c", "CC", "R")]
    both, one = join_views(items, ["CC", "MLO"])
    assert (both["image"], both["views"], both["name"]) == (["b.tif", "a.tif"], ["CC", "MLO"], "b+a")
    assert (one["image"], one["views"]) == (["c.tif", None], ["CC", None])
    assert both["age"] == 60 and "image_id" not in both and one["image_id"] == "c"
    assert seen_views([both, one]) == ["CC", "MLO"]


def test_repeated_views_make_several_items_of_a_breast() -> None:
    items = [image("a", "CC"), image("b", "CC"), image("c", "MLO")]
    assert [item["image"] for item in join_views(items, ["CC", "MLO"])] == [["a.tif", "c.tif"], ["b.tif", "c.tif"]]


def test_unseen_views_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    items = [image("a", "CC"), image("b", "AT"), image("c", "ML", "R")]
    with caplog.at_level(logging.WARNING):
        assert len(join_views(items, ["CC", "MLO"])) == 1
    assert "2 images have views that this network does not take (AT, ML" in caplog.text
    assert "1 breasts have no other" in caplog.text


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([image("a", "CC"), image("b", "MLO", cancer=1)], "breast L of patient p disagree on 'cancer'"),
        ([image("a", "CC", patient="")], "cannot be joined with other views"),
        ([image("a", "AT")], "No breast has an image of the views"),
    ],
    ids=["disagree", "no patient", "nothing left"],
)
def test_what_cannot_be_joined_is_refused(items, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        join_views(items, ["CC", "MLO"])


def test_one_image_is_the_simple_case() -> None:
    item = single(image("a", "CC"))
    assert (item["image"], item["views"], item["name"]) == (["a.tif"], ["CC"], "a")


def test_rare_items_are_drawn_more_often() -> None:
    items = [{"cancer": int(n < 10)} for n in range(1000)]
    for kind, share in (("balanced", 0.5), ("weighted", (0.01**0.5) / (0.01**0.5 + 0.99**0.5))):
        torch.manual_seed(0)
        drawn = Counter(items[i]["cancer"] for _ in range(20) for i in sampler_of(items, "cancer", kind))
        assert drawn[1] / 20_000 == pytest.approx(share, abs=0.01)
    assert sampler_of(items, "cancer", None) is None
    with pytest.raises(ValueError, match="Unknown sampling 'rare'"):
        item_weights(items, "cancer", "rare")

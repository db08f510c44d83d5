"""A folder in BUSI's layout, with everything that can be wrong in it."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from common.data.datalist import load_datalist
from common.data.pixels import read_grey, read_mask


@pytest.fixture
def source(phantoms: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(phantoms, tmp_path / "source"))


def prepare(script, source: Path, **options) -> tuple[list[dict], pd.DataFrame]:
    out = source.parent / options.pop("name", "out")
    script("prepare_busi").prepare_busi(str(source), str(out), workers=2, **options)
    return load_datalist(out)["items"], pd.read_csv(out / "rejected.csv")


def test_the_datalist_is_complete_and_in_place(prepared: Path, phantoms: Path) -> None:
    datalist = load_datalist(prepared)
    assert {"name", "version", "licence", "source", "fingerprint"} <= set(datalist)
    assert len(datalist["items"]) == 60
    for item in datalist["items"]:
        assert Path(item["image"]).is_relative_to(phantoms)
        assert (read_mask(item["mask"]).any()) == (item["label"] != "normal")


def test_planted_duplicates_share_a_group_and_a_fold(script, source: Path) -> None:
    for number in (1, 2, 3):
        image = Image.open(source / "benign" / f"benign ({number}).png").convert("L")
        image.save(source / "benign" / f"benign ({100 + number}).png")
        mask = source / "benign" / f"benign ({number})_mask.png"
        shutil.copy(mask, source / "benign" / f"benign ({100 + number})_mask.png")
    items, _ = prepare(script, source)
    home = {Path(item["image"]).stem: (item["group_id"], item["split"], item["fold"]) for item in items}
    for number in (1, 2, 3):
        assert home[f"benign ({number})"] == home[f"benign ({100 + number})"]


def test_contradictory_labels_are_named_and_left_out(script, source: Path, capsys: pytest.CaptureFixture) -> None:
    shutil.copy(source / "normal" / "normal (1).png", source / "malignant" / "malignant (99).png")
    mask = np.ones_like(read_grey(source / "normal" / "normal (1).png"), bool)
    Image.fromarray(mask).save(source / "malignant" / "malignant (99)_mask.png")
    items, rejected = prepare(script, source)
    assert "1 groups with contradictory labels: malignant (99)" in capsys.readouterr().out
    reason = rejected.set_index("image").loc["normal/normal (1).png", "reason"]
    assert "labelled malignant, normal" in reason
    assert not {"normal (1)", "malignant (99)"} & {Path(item["image"]).stem for item in items}
    kept, _ = prepare(script, source, name="kept", keep_conflicts=True)
    conflicts = [item for item in kept if item["conflict"]]
    assert conflicts and {(item["split"], item["fold"]) for item in conflicts} == {("train", -1)}


def test_what_cannot_be_used_is_set_aside_with_the_reason(script, source: Path) -> None:
    benign = source / "benign"
    (benign / "benign (1)_mask.png").unlink()
    (benign / "benign (1)_mask_1.png").unlink(missing_ok=True)
    (benign / "benign (2).png").write_bytes(b"broken")
    Image.fromarray(np.ones((5, 5), bool)).save(benign / "benign (3)_mask.png")
    (benign / "benign (900)_mask.png").write_bytes((benign / "benign (4)_mask.png").read_bytes())
    items, rejected = prepare(script, source)
    reasons = rejected.set_index("image")["reason"]
    assert "no mask" in reasons["benign/benign (1).png"]
    assert "cannot be read" in reasons["benign/benign (2).png"] or "no picture" in reasons["benign/benign (2).png"]
    assert "5x5" in reasons["benign/benign (3).png"]
    assert "without its image" in reasons["benign/benign (900)_mask.png"]
    assert len(items) == 57


def test_several_masks_of_an_image_are_one(script, source: Path) -> None:
    image = read_grey(source / "benign" / "benign (1).png")
    mask = np.zeros(image.shape, bool)
    mask[:4] = True
    Image.fromarray(mask).convert("RGBA").save(source / "benign" / "benign (1)_mask_7.png")
    items, _ = prepare(script, source)
    item = next(item for item in items if Path(item["image"]).stem == "benign (1)")
    before = read_mask(source / "benign" / "benign (1)_mask.png")
    assert item["masks"] >= 2 and (read_mask(item["mask"]) >= (before | mask)).all()


@pytest.mark.parametrize("make", [False, True], ids=["no folders", "empty folders"])
def test_an_empty_folder_says_what_was_expected(script, tmp_path: Path, make: bool) -> None:
    if make:
        (tmp_path / "source" / "benign").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="benign"):
        script("prepare_busi").prepare_busi(str(tmp_path / "source"), str(tmp_path / "out"))


def test_a_seed_repeats_the_splits_and_random_splits_leak(script, source: Path, prepared: Path) -> None:
    def homes(items: list[dict]) -> dict[str, tuple]:
        return {Path(item["image"]).stem: (item["split"], item["fold"]) for item in items}

    first, _ = prepare(script, source)
    again, _ = prepare(script, source, name="again")
    random, _ = prepare(script, source, name="random", split="random")
    assert homes(first) == homes(again) != homes(random)
    places = defaultdict(set)
    for item in random:
        places[item["duplicate_group"]].add(item["split"])
    assert any(len(found) > 1 for found in places.values())


def test_groups_can_be_taken_from_another_preparation(script, phantoms: Path, prepared: Path, tmp_path: Path) -> None:
    script("prepare_busi").prepare_busi(str(phantoms), str(tmp_path), seed=5, groups_from=str(prepared))
    groups = [{i["image"]: i["duplicate_group"] for i in load_datalist(d)["items"]} for d in (prepared, tmp_path)]
    assert groups[0] == groups[1]


@pytest.mark.slow
def test_the_real_set(script, real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """625 images: the identical pair is found, and the groups that carry two classes are named."""
    script("prepare_busi").prepare_busi(str(real_data / "busi"), str(tmp_path), workers=2)
    printed = capsys.readouterr().out
    assert "625 images read" in printed and "8 groups with contradictory labels" in printed
    rejected = set(pd.read_csv(tmp_path / "rejected.csv")["image"])
    assert {"benign/benign (433).png", "malignant/malignant (145).png"} <= rejected
    items = json.loads((tmp_path / "datalist.json").read_text())["items"]
    assert len({item["duplicate_group"] for item in items}) < len(items)

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from common.data.datalist import SplitLeakError, check_split, load_datalist, save_datalist, select, with_predicted_masks


def item(tmp_path: Path, name: str, group: str, split: str = "train", fold: int = 0, label: str = "benign") -> dict:
    (tmp_path / f"{name}.png").write_bytes(b"x")
    return {"image": f"{name}.png", "group_id": group, "split": split, "fold": fold, "label": label}


def test_a_group_in_two_splits_is_refused_and_named(tmp_path: Path) -> None:
    items = [item(tmp_path, "a", "g1"), item(tmp_path, "b", "g1", "test", -1), item(tmp_path, "c", "g2")]
    save_datalist(tmp_path, items, name="x")
    with pytest.raises(SplitLeakError, match=r"g1 in split test and split train"):
        load_datalist(tmp_path)


def test_a_group_in_two_folds_is_refused(tmp_path: Path) -> None:
    save_datalist(tmp_path, [item(tmp_path, "a", "g1", fold=0), item(tmp_path, "b", "g1", fold=1)], name="x")
    with pytest.raises(SplitLeakError, match="g1"):
        load_datalist(tmp_path)


def test_patients_come_before_groups() -> None:
    leak = {"train": [{"patient_id": "p", "group_id": "1"}], "test": [{"patient_id": "p", "group_id": "2"}]}
    with pytest.raises(SplitLeakError, match="patient_id"):
        check_split(leak)


def test_items_without_any_group_are_refused() -> None:
    with pytest.raises(ValueError, match="patient_id"):
        check_split({"train": [{"image": "a"}]})


def test_gone_files_are_named(tmp_path: Path) -> None:
    save_datalist(tmp_path, [item(tmp_path, "a", "g1")], name="x")
    (tmp_path / "a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.png"):
        load_datalist(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"items": []}'], ids=["broken", "a list", "no items"])
def test_a_damaged_datalist_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "datalist.json").write_text(content)
    with pytest.raises(ValueError, match="datalist"):
        load_datalist(tmp_path)


def test_a_folder_without_datalist_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="--dataset_dir"):
        load_datalist(tmp_path)


def test_parts_are_disjoint_and_complete(tmp_path: Path) -> None:
    items = [item(tmp_path, f"i{n}", f"g{n}", "test" if n == 0 else "train", n % 3 if n else -1) for n in range(7)]
    save_datalist(tmp_path, items, name="x")
    datalist = load_datalist(tmp_path)
    parts = [select(datalist, part, fold=1) for part in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [4, 2, 1]
    assert len({i["image"] for part in parts for i in part}) == len(select(datalist, "all")) == 7


def test_an_unknown_fold_names_the_known_ones(tmp_path: Path) -> None:
    save_datalist(tmp_path, [item(tmp_path, "a", "g1"), item(tmp_path, "b", "g2", fold=1)], name="x")
    with pytest.raises(ValueError, match=r"no fold 9.*\[0, 1\]"):
        select(load_datalist(tmp_path), "validation", fold=9)


def test_the_fingerprint_does_not_depend_on_the_folder(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    save_datalist(here, [item(here, "a", "g1")], name="x")
    shutil.copytree(here, there)
    assert load_datalist(here)["fingerprint"] == load_datalist(there)["fingerprint"]


def test_predicted_masks_must_cover_every_image(tmp_path: Path) -> None:
    save_datalist(tmp_path, [item(tmp_path, "a", "g1"), item(tmp_path, "b", "g2")], name="x")
    datalist = load_datalist(tmp_path)
    table = tmp_path / "masks.csv"
    table.write_text(f"image,mask\n{datalist['items'][0]['image']},m.png\n")
    with pytest.raises(ValueError, match=r"lacks the masks of 1 images.*b\.png"):
        with_predicted_masks(datalist, table)
    with pytest.raises(FileNotFoundError, match="--predicted_masks"):
        with_predicted_masks(datalist, None)

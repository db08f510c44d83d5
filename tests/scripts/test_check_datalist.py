from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from common.data.datalist import SplitLeakError


def test_counts_and_what_crosses_are_printed(script, prepared: Path, phantoms: Path, tmp_path: Path, capsys) -> None:
    script("prepare_busi").prepare_busi(str(phantoms), str(tmp_path), seed=5, workers=1, groups_from=str(prepared))
    script("check_datalist").check_datalist(str(prepared), compare=str(tmp_path))
    out = capsys.readouterr().out
    assert "train, fold 4" in out and "images in both: 60" in out
    assert "image trained on in the first, tested in the other: " in out


def test_a_group_on_both_sides_is_named(script, prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path / "set")
    path = tmp_path / "set" / "datalist.json"
    content = json.loads(path.read_text())
    test = next(item for item in content["items"] if item["split"] == "test")
    content["items"].append({**test, "split": "train", "fold": 0})
    for item in content["items"]:
        item["image"] = str((prepared / item["image"]).resolve())
    path.write_text(json.dumps(content))
    with pytest.raises(SplitLeakError, match=r"stand in more than one split"):
        script("check_datalist").check_datalist(str(tmp_path / "set"))


def test_one_thing_at_a_time(script) -> None:
    with pytest.raises(ValueError, match="--cbis_csv"):
        script("check_datalist").check_datalist()


def test_the_official_splits_are_reported(script, real_data: Path, tmp_path: Path, capsys) -> None:
    script("check_datalist").check_datalist(cbis_csv=str(real_data / "cbis" / "csv"), output_dir=str(tmp_path))
    assert "on both sides: 31 patients, 29 images" in capsys.readouterr().out
    assert {p.name for p in tmp_path.iterdir()} == {"both_sides_patients.csv", "both_sides_images.csv", "cases.csv"}

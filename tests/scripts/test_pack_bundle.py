"""Packs: what is in them, that two are the same bytes, that a run becomes one, and that they run by themselves."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from running import run_bundle

from common.data.packs import unpack

NAMES = ["busi_attention_unet", "cbis_maskrcnn", "cbis_patch_classifier", "rsna_classifier"]


@pytest.mark.parametrize("name", NAMES)
def test_a_pack_holds_the_bundle_and_the_shared_package_and_nothing_else(name: str, script, tmp_path: Path) -> None:
    path = Path(script("pack_bundle").pack_bundle(name, output_dir=str(tmp_path), verify=False))
    assert path.name == f"{name}_v0.1.0.zip"
    places = zipfile.ZipFile(path).namelist()
    for wanted in ("configs/train.json", "configs/inference.json", "docs/README.md", "LICENSE", "common/__init__.py"):
        assert f"{name}/{wanted}" in places
    assert (f"{name}/models/model.pt" in places) == (name == "busi_attention_unet")
    assert not [place for place in places if "__pycache__" in place or place.endswith((".png", ".pyc"))]


def test_two_packs_of_one_revision_are_the_same_bytes(script, tmp_path: Path) -> None:
    one, two = (
        Path(script("pack_bundle").pack_bundle("rsna_classifier", output_dir=str(tmp_path / folder), verify=False))
        for folder in ("one", "two")
    )
    assert one.read_bytes() == two.read_bytes()


def test_version_and_change_log_have_to_agree(script) -> None:
    check = script("pack_bundle").checked_version
    assert check({"version": "0.10.0", "changelog": {"0.9.0": "", "0.10.0": ""}}, "b") == "0.10.0"
    with pytest.raises(ValueError, match=r"0\.9\.0.*0\.10\.0"):
        check({"version": "0.9.0", "changelog": {"0.9.0": "", "0.10.0": ""}}, "b")


def test_settings_of_a_run_go_in_with_what_they_refer_to(script) -> None:
    adopt = script("pack_bundle").adopt
    changed = {"image_size": [64, 64], "network_def": {"_target_": "x", "depth": "@depth"}, "depth": 3, "rate": 1}
    found = adopt({"image_size": [128, 128], "network_def": {}}, changed, False)
    assert found == {"image_size": [64, 64], "network_def": changed["network_def"], "depth": 3}


def test_a_run_that_is_none_of_ours_makes_no_pack(script, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no run"):
        script("pack_bundle").pack_bundle("busi_attention_unet", run_id="0" * 32, output_dir=str(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_becomes_a_pack_that_runs_by_itself(script, prepared: Path, tmp_path: Path) -> None:
    small = {"image_size": [64, 64], "epochs": 1, "val_interval": 1, "batch_size": 8, "resamples": 20}
    run_bundle("busi_attention_unet", "train", dataset_dir=str(prepared), output_dir=str(tmp_path / "run"), **small)
    run_id = json.loads((tmp_path / "run" / "mlflow_run.json").read_text())["run_id"]
    with pytest.raises(ValueError, match="is of busi_attention_unet, not of rsna_classifier"):
        script("pack_bundle").pack_bundle("rsna_classifier", run_id=run_id, output_dir=str(tmp_path / "dist"))
    path = script("pack_bundle").pack_bundle("busi_attention_unet", run_id=run_id, output_dir=str(tmp_path / "dist"))
    root = unpack(path, tmp_path / "there")
    assert json.loads((root / "configs" / "inference.json").read_text())["image_size"] == [64, 64]
    weights, own = (torch.load(p / "models" / "model.pt") for p in (root, tmp_path / "run"))
    assert all(torch.equal(weights[key], own[key]) for key in own)


@pytest.mark.parametrize(
    ("change", "expected"), [(0, True), (2, True), (3, False)], ids=["equal", "rounded otherwise", "different"]
)
def test_pictures_may_differ_by_rounding_alone(change: int, expected: bool, script, tmp_path: Path) -> None:
    picture = np.full((4, 5), 100, np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    picture[1, 2] += change
    Image.fromarray(picture).save(tmp_path / "b.png")
    assert script("verify_pack").same(tmp_path / "a.png", tmp_path / "b.png") == expected


@pytest.mark.parametrize(("value", "expected"), [("0.5", True), ("0.5000001", True), ("0.51", False)])
def test_tables_may_differ_by_rounding_alone(value: str, expected: bool, script, tmp_path: Path) -> None:
    for name, number in (("a.csv", "0.5"), ("b.csv", value)):
        (tmp_path / name).write_text(f"image,p\nx,{number}\n")
    assert script("verify_pack").same(tmp_path / "a.csv", tmp_path / "b.csv") == expected


def test_a_pack_that_fails_is_not_written(script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(pack: str) -> None:
        raise ValueError("does not run")

    monkeypatch.setattr(script("verify_pack"), "verify_pack", fail)
    with pytest.raises(ValueError, match="does not run"):
        script("pack_bundle").pack_bundle("busi_attention_unet", output_dir=str(tmp_path))
    assert not list(tmp_path.iterdir())

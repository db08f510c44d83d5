"""From the layout of TCIA's download to a datalist: every row of the CSV files is used, or has its reason."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from common.data.cbis import read_cases, reconcile
from common.data.cbis_files import abnormality_files, index_cases

SIZE = 64


@pytest.fixture(scope="module")
def source(cbis_phantoms: Path) -> Path:
    return cbis_phantoms


def prepare(source: Path, target: Path, **options: Any) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    given = {"size": SIZE, "max_size": 128, "folds": 3, "backgrounds": 2, "workers": 2, **options}
    import_module("prepare_cbis").prepare_cbis(str(source), str(target), **given)
    return read(target)


def read(target: Path) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    return json.loads((target / "datalist.json").read_text())["items"], pd.read_csv(target / "cases.csv").fillna("")


@pytest.fixture(scope="module")
def done(cbis_prepared: Path) -> tuple[Path, list[dict[str, Any]], pd.DataFrame]:
    return cbis_prepared, *read(cbis_prepared)


def test_every_row_is_accounted_for(source: Path, done) -> None:
    _, items, accounts = done
    cases = read_cases(source)
    assert len(accounts) == len(cases) and (accounts["reason"] == "").all()
    mended = accounts[accounts["remarks"].str.contains("enlarged")]
    assert 0 < len(mended) < len(accounts) / 2
    lesions = [one for item in items if item["context"] == "whole" for one in item["lesions"]]
    assert sorted(one["case"] for one in lesions) == sorted(accounts["case"])


def test_patients_are_whole_and_split_as_reconciled(source: Path, done) -> None:
    _, items, _ = done
    expected = reconcile(read_cases(source)).groupby("patient_id")["split"].first()
    homes = pd.DataFrame(items).groupby("patient_id")[["split", "fold"]].nunique()
    assert (homes == 1).all(axis=None)
    assert all(item["split"] == expected[item["patient_id"]] for item in items)
    assert all((item["fold"] == -1) == (item["split"] == "test") for item in items)


def test_patches_and_masks_are_what_the_labels_say(source: Path, done) -> None:
    target, items, _ = done
    table = pd.DataFrame(items)
    assert set(table["context"]) == {"whole", "small", "large", "crop", "background"}
    assert set(table[table["context"] == "background"]["label"]) == {"background"}
    for name, (top, left, bottom, right) in table[table["context"] == "crop"][["image", "place"]].values[:5]:
        shape, most = tifffile.imread(target / name).shape, 2 * SIZE
        assert max(shape) <= most and shape[0] / shape[1] == pytest.approx((bottom - top) / (right - left), rel=0.05)
    patches = table[~table["context"].isin(["whole", "crop"])]
    for name in patches["image"].sample(20, random_state=0):
        values = tifffile.imread(target / name)
        assert values.shape == (SIZE, SIZE) and values.dtype == np.uint16
    whole = next(item for item in items if item["context"] == "whole" and len(item["lesions"]) > 1)
    assert tifffile.imread(target / whole["image"]).shape == tuple(whole["shape"])
    for lesion in whole["lesions"]:
        mask = np.asarray(Image.open(target / lesion["mask"]))
        assert mask.shape == tuple(whole["shape"]) and mask.any()
        x1, y1, x2, y2 = lesion["box"]
        assert mask[y1:y2, x1:x2].sum() == mask.sum() and mask[y1].any() and mask[:, x1].any()


def test_the_patches_hold_the_abnormality(source: Path, done) -> None:
    _, items, _ = done
    found = index_cases(source)
    for item in [i for i in items if i["context"] in ("small", "large")][::7]:
        shape = next(i["source_shape"] for i in items if i["context"] == "whole" and i["image_id"] == item["image_id"])
        mask = abnormality_files(found[item["case"]], tuple(shape)).mask
        top, left, bottom, right = item["place"]
        assert mask[max(0, top) : bottom, max(0, left) : right].any()


def test_what_cannot_be_used_is_listed_and_the_rest_goes_on(source: Path, tmp_path: Path) -> None:
    copied = tmp_path / "source"
    shutil.copytree(source, copied)
    found = index_cases(copied)
    lesions = [case for case in found if case.rpartition("_")[2].isdigit()]
    shutil.rmtree(copied / lesions[0])
    whole = lesions[-1].rpartition("_")[0]
    found[whole][0].write_bytes(b"nothing")
    _, accounts = prepare(copied, tmp_path / "set")
    reasons = accounts.set_index("case")["reason"]
    assert reasons[lesions[0]] == "the files of mask and crop are missing"
    assert "cannot be read" in reasons[lesions[-1]]
    assert (reasons != "").sum() == 1 + sum(case.startswith(f"{whole}_") for case in reasons.index)
    assert len(pd.read_csv(tmp_path / "set" / "rejected.csv")) == (reasons != "").sum()


@pytest.mark.parametrize(("split", "parts"), [("official", 0), ("drawn", 0.2)])
def test_other_splits(source: Path, tmp_path: Path, split: str, parts: float) -> None:
    items, _ = prepare(source, tmp_path, split=split, kinds="mass", folds=2, test_share=0.25)
    table = pd.DataFrame(items)
    assert set(table["split"]) == {"train", "test"} and (table.groupby("patient_id")["split"].nunique() == 1).all()
    assert not [label for label in set(table["label"]) if "calcification" in label]


def test_the_joined_official_splits_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"1 patients, such as P_00004, stand on both sides|2 patients"):
        prepare(source, tmp_path, split="official")
    with pytest.raises(ValueError, match="--split is one of"):
        prepare(source, tmp_path, split="random")

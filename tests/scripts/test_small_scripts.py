from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image


def test_phantoms_have_the_layout_and_modes_of_the_real_set(phantoms: Path) -> None:
    images = [f for f in phantoms.glob("*/*.png") if "_mask" not in f.stem]
    masks = [f for f in phantoms.glob("*/*.png") if "_mask" in f.stem]
    assert len(images) == 60 and len(masks) >= 60
    assert {"L", "RGB"} <= {Image.open(f).mode for f in images}
    assert {"1", "RGB", "RGBA"} <= {Image.open(f).mode for f in masks}
    assert set(Counter(f.parent.name for f in images)) == {"benign", "malignant", "normal"}


def test_the_same_seed_makes_the_same_phantoms(script, tmp_path: Path) -> None:
    for name in ("a", "b"):
        script("make_phantoms").busi(str(tmp_path / name), number=4, seed=7)
    a, b = (sorted((tmp_path / name).rglob("*.png")) for name in ("a", "b"))
    assert [f.read_bytes() for f in a] == [f.read_bytes() for f in b]


def table(path: Path, dice: list[float], prefix: str = "i") -> str:
    rows = [
        {"image": f"{prefix}{n}", "group_id": f"g{n}", "true_px": 100, "predicted_px": 100, "overlap_px": 100 * d}
        for n, d in enumerate(dice)
    ]
    pd.DataFrame(rows).to_csv(path, index=False)
    return str(path)


def test_a_paired_difference_is_tighter_than_an_unpaired_one(script, tmp_path: Path, capsys) -> None:
    better = table(tmp_path / "a.csv", [0.3, 0.5, 0.7, 0.9] * 10)
    worse = table(tmp_path / "b.csv", [0.2, 0.4, 0.6, 0.8] * 10)
    script("compare_predictions").compare_predictions(better, worse)
    assert "difference 0.100 [0.100, 0.100] (n=40)" in capsys.readouterr().out
    script("compare_predictions").compare_predictions(f"{better},{better}", f"{worse},{worse}", paired=False)
    unpaired = capsys.readouterr().out
    assert "difference 0.100 [" in unpaired and "[0.100, 0.100]" not in unpaired


def test_other_images_cannot_be_paired(script, tmp_path: Path) -> None:
    one, two = table(tmp_path / "a.csv", [0.5] * 5), table(tmp_path / "b.csv", [0.5] * 5, prefix="j")
    with pytest.raises(ValueError, match="cannot be paired"):
        script("compare_predictions").compare_predictions(one, two)


def test_metrics_are_shown_for_people(script, tmp_path: Path, capsys) -> None:
    file = tmp_path / "metrics.csv"
    file.write_text("metric,value,low,high,n,groups\ndice,0.5,0.4,0.6,20,15\n")
    script("show_metrics").show_metrics(str(file))
    assert "0.500 [0.400, 0.600] (n=20), 15 groups" in capsys.readouterr().out
    script("show_metrics").show_metrics(str(file), markdown=True)
    assert "| dice |" in capsys.readouterr().out


@pytest.mark.slow
def test_the_benchmark_of_preparation_reports_every_arm(script, capsys) -> None:
    script("benchmark").prepare(files=1, rows=208, rounds=1, memory_images=(2,))
    out = capsys.readouterr().out
    for words in ("JPEG 2000 lossless", "papers, dicomsdl", "decode alone", "16 bit", "peak memory"):
        assert words in out


@pytest.mark.slow
def test_the_benchmark_of_transforms_reports_every_arm(script, capsys) -> None:
    script("benchmark").transforms(images=3, rows=192, columns=120)
    out = capsys.readouterr().out
    for words in ("ours", "papers, three channels", "breast and pectoral", "times the first"):
        assert words in out


@pytest.mark.slow
def test_the_benchmark_of_prediction_says_where_the_time_goes(script, capsys) -> None:
    script("benchmark").predict(rows=208, bundles="busi_attention_unet")
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.startswith("| `busi_attention_unet` | 2 |") and row.count("%") == 3 and row.count("MiB") == 2


def test_weights_to_start_from_are_not_those_that_are_scored(script, tmp_path: Path, monkeypatch) -> None:
    module, calls = script("cross_validate"), []
    monkeypatch.setattr(module, "run_config", lambda configs, kind, **given: calls.append(given))
    module._run_fold("busi_attention_unet", None, 0, tmp_path, True, dataset_dir="d", weights="start.pt")
    assert [given.get("weights") for given in calls] == ["start.pt", None, None]

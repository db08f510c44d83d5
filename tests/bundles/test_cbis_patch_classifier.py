"""The bundle at work on phantoms: training, evaluation, inference on patches and mammograms, all experiments."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from running import run_bundle

from common.data.bundle import config_files
from common.data.mammogram import read_mammogram, write_mammogram
from common.metrics.classification import roc_auc

BUNDLE = "cbis_patch_classifier"
run = partial(run_bundle, BUNDLE)
TINY = {"image_size": [64, 64], "backbone": "resnet10t", "pretrained": False, "epochs": 1, "batch_size": 8}
TINY |= {"cache_rate": 1.0, "num_workers": 0, "ema_decay": 0.9, "resamples": 100}
NETWORK = {key: TINY[key] for key in ("image_size", "backbone", "batch_size", "num_workers")}


@pytest.fixture(scope="module")
def trained(cbis_prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    run("train", dataset_dir=str(cbis_prepared), output_dir=str(folder), **TINY)
    return folder


@pytest.fixture(scope="module")
def five(cbis_prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five classes, in stages of one epoch."""
    folder = tmp_path_factory.mktemp("five")
    stages = [{"epochs": 1, "trainable": 0.0}, {"epochs": 1, "trainable": 0.5}]
    options = {**TINY, "epochs": 2, "stages": stages, "dataset_dir": str(cbis_prepared), "output_dir": str(folder)}
    run("train", experiment="mit_five_class", **options)
    return folder


def test_training_leaves_weights_tables_and_figures(trained: Path) -> None:
    files = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    expected = {"models/model.pt", "models/model.json", "history.csv", "predictions.csv", "abnormalities.csv"}
    expected |= {"breasts.csv", "patients.csv", "metrics.csv", "figures/roc.png", "figures/subgroups.png"}
    assert expected - {"figures/subgroups.png"} <= files
    point = json.loads((trained / "models" / "model.json").read_text())
    assert point["level"] == "abnormality" and point["contexts"] == ["large"] and point["fold"] == 0


def test_an_evaluation_scores_abnormalities(trained: Path, cbis_prepared: Path, tmp_path: Path) -> None:
    options = {"dataset_dir": str(cbis_prepared), "ckpt_dir": str(trained / "models"), "output_dir": str(tmp_path)}
    run("eval", more=("evaluate",), **options, **TINY)
    table = pd.read_csv(tmp_path / "predictions.csv")
    items = json.loads((cbis_prepared / "datalist.json").read_text())["items"]
    wanted = {i["case"] for i in items if i["split"] == "test" and i["context"] == "large"}
    assert set(table["case"]) == wanted and table["case"].is_unique and set(table["context"]) == {"large"}
    metrics = pd.read_csv(tmp_path / "metrics.csv").set_index("metric")
    found = metrics.loc["abnormality_roc_auc", "value"]
    assert found == pytest.approx(roc_auc(table["positive"], table["probability"])[0])


def test_five_classes_are_scored_and_inferred_as_such(five: Path, cbis_prepared: Path, tmp_path: Path) -> None:
    models = str(five / "models")
    run("eval", experiment="mit_five_class", more=("evaluate",), dataset_dir=str(cbis_prepared),
        output_dir=str(tmp_path / "test"), ckpt_dir=models, **TINY)  # fmt: skip
    metrics = pd.read_csv(tmp_path / "test" / "metrics.csv").set_index("metric")["value"]
    assert {"accuracy", "balanced_accuracy", "macro_auc", "auc_malignant"} <= set(metrics.index)
    table = pd.read_csv(tmp_path / "test" / "predictions.csv")
    assert metrics["accuracy"] == pytest.approx((table["predicted"] == table["label"]).mean())
    run("infer", first="inference", experiment="mit_five_class", output_dir=str(tmp_path / "out"),
        dataset_dir=str(cbis_prepared / "patches" / "background"), ckpt_dir=models, **NETWORK)  # fmt: skip
    found = pd.read_csv(tmp_path / "out" / "predictions.csv")
    shares = found[[column for column in found if column.startswith("p_")]]
    assert shares.shape[1] == 5 and np.allclose(shares.sum(axis=1), 1)
    assert {f"p_{name}" for name in found["predicted"]} <= set(shares)
    assert len(list((tmp_path / "out" / "overlays").rglob("*.png"))) == len(found)


def test_inference_on_patches_with_a_bad_one(trained: Path, cbis_prepared: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for file in sorted((cbis_prepared / "patches" / "large").iterdir())[:5]:
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "bad.tif").write_bytes(b"II*\0nothing")
    run("infer", first="inference", dataset_dir=str(folder), output_dir=str(out),
        ckpt_dir=str(trained / "models"), **NETWORK)  # fmt: skip
    table = pd.read_csv(out / "predictions.csv")
    assert len(table) == 5 and {"image", "probability", "threshold", "called"} <= set(table)
    assert list(pd.read_csv(out / "rejected.csv")["image"]) == ["bad.tif"]
    assert len(list((out / "overlays").glob("*.png"))) == 5


@pytest.fixture(scope="module")
def mammogram(cbis_phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one mammogram of the download, and a file that is none."""
    folder = tmp_path_factory.mktemp("whole")
    case = next(path for path in sorted(cbis_phantoms.rglob("Mass-*_CC")) if path.is_dir())
    (folder / "film.dcm").write_bytes(next(case.rglob("*.dcm")).read_bytes())
    (folder / "bad.dcm").write_bytes(b"nothing")
    return folder


def test_a_whole_mammogram_gets_a_map_on_its_own_pixels(trained: Path, mammogram: Path, tmp_path: Path) -> None:
    run("infer", first="inference", more=("whole_mammogram",), dataset_dir=str(mammogram), stride=32,
        ckpt_dir=str(trained / "models"), output_dir=str(tmp_path), **NETWORK)  # fmt: skip
    picture, _ = read_mammogram(mammogram / "film.dcm")
    found = nibabel.load(tmp_path / "maps" / "film.dcm_malignant.nii.gz").get_fdata()[..., 0].T
    assert found.shape == picture.shape and found.min() >= 0 and found.max() <= 1
    assert Image.open(tmp_path / "overlays" / "film.dcm_malignant.png").size == picture.shape[::-1]
    row = pd.read_csv(tmp_path / "predictions.csv").iloc[0]
    assert row["highest_malignant"] == pytest.approx(found.max(), abs=1e-4)
    assert found[row["row_malignant"], row["column_malignant"]] == pytest.approx(found.max(), abs=1e-4)
    assert list(pd.read_csv(tmp_path / "rejected.csv")["image"]) == ["bad.dcm"]


def test_a_map_holds_what_the_patch_at_that_place_gets(trained: Path, mammogram: Path, tmp_path: Path) -> None:
    """Each window by itself: the very number that the patch, cut out and saved, gets on its own."""
    options = {"ckpt_dir": str(trained / "models"), **NETWORK}
    run("infer", first="inference", more=("whole_mammogram",), dataset_dir=str(mammogram), stride=16,
        way="each", output_dir=str(tmp_path / "whole"), **options)  # fmt: skip
    found = nibabel.load(tmp_path / "whole" / "maps" / "film.dcm_malignant.nii.gz").get_fdata()[..., 0].T
    picture, _ = read_mammogram(mammogram / "film.dcm")
    places = [(row, column) for row in range(48, 200, 16) for column in range(0, picture.shape[1] - 1, 16)]
    inside = [place for place in places if found[place] > 0][::5]
    padded = np.pad(picture, 32)
    for row, column in inside:
        write_mammogram(tmp_path / "in" / f"{row}_{column}.tif", padded[row : row + 64, column : column + 64])
    run("infer", first="inference", dataset_dir=str(tmp_path / "in"), output_dir=str(tmp_path / "out"),
        saliency=False, **options)  # fmt: skip
    table = pd.read_csv(tmp_path / "out" / "predictions.csv").set_index("image")["probability"]
    assert len(inside) > 5
    for row, column in inside:
        assert table[f"{row}_{column}.tif"] == pytest.approx(found[row, column], abs=1e-3)


@pytest.mark.slow
def test_five_splits_against_one_test_set(script, cbis_prepared: Path, tmp_path: Path) -> None:
    options = {**TINY, "dataset_dir": str(cbis_prepared), "output_dir": str(tmp_path)}
    script("cross_validate").cross_validate(BUNDLE, **options)
    splits = pd.read_csv(tmp_path / "test_splits.csv").set_index("metric")
    each = [pd.read_csv(tmp_path / f"fold_{n}" / "test" / "metrics.csv").set_index("metric")["value"] for n in range(3)]
    aucs = [one["abnormality_roc_auc"] for one in each]
    assert splits.loc["abnormality_roc_auc", "mean"] == pytest.approx(np.mean(aucs))
    assert splits.loc["abnormality_roc_auc", "std"] == pytest.approx(np.std(aucs, ddof=1))
    assert {"abnormality_accuracy"} <= set(splits.index) and (splits["splits"] == 3).all()
    assert (tmp_path / "figures" / "test_roc_band.png").is_file()
    assert (tmp_path / "ensemble" / "metrics.csv").is_file()


@pytest.mark.slow
def test_every_experiment_trains_evaluates_and_is_compared(script, cbis_prepared: Path, tmp_path: Path) -> None:
    """With nothing overridden but size, batch, epochs and pretrained; the backbones are the papers' own."""
    names = [None, *(path.stem for path in sorted((Path(config_files(BUNDLE)[0]).parent / "experiments").iterdir()))]
    small = {"epochs": 1, "batch_size": 16, "pretrained": False, "num_workers": 0, "resamples": 50}
    for name in names:
        size = [75, 75] if "inception" in str(name) else [32, 32]
        data, out = {"dataset_dir": str(cbis_prepared), "image_size": size, **small}, tmp_path / str(name)
        run("train", experiment=name, **data, output_dir=str(out))
        run("eval", experiment=name, more=("evaluate",), **data, ckpt_dir=str(out / "models"),
            output_dir=str(out / "test"))  # fmt: skip
        assert pd.read_csv(out / "test" / "metrics.csv")["value"].notna().any()
        for weights in (out / "models").glob("*.pt"):
            weights.unlink()  # flattened VGG16s are large
    with torch.no_grad():
        script("compare_experiments").compare_experiments(
            BUNDLE, against="tuebingen_vgg16", level="image", output_dir=str(tmp_path / "table"), resamples=50
        )
    table = pd.read_csv(tmp_path / "table" / "comparison.csv").set_index("experiment")
    assert {name or "ours" for name in names} - set(table.index) <= {"mit_five_class", "mit_five_class_scratch"}

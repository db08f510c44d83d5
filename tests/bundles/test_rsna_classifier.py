"""The bundle at work on phantoms: training, evaluation, inference on studies, resume, folds, all experiments."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
from monai.bundle import ConfigParser
from PIL import Image
from running import run_bundle, train_in_two_processes

from common.data.bundle import config_files
from common.data.mammogram import read_mammogram, write_mammogram
from common.metrics.classification import roc_auc

BUNDLE = "rsna_classifier"
run = partial(run_bundle, BUNDLE)
TINY = {"image_size": [64, 48], "backbone": "resnet10t", "pretrained": False, "epochs": 2, "batch_size": 8}
TINY |= {"cache_rate": 1.0, "num_workers": 0, "ema_decay": 0.9, "resamples": 200}
ALONE = {**TINY, "views": None, "fusion": "mean"}


@pytest.fixture(scope="module")
def trained(rsna_prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    run("train", dataset_dir=str(rsna_prepared), output_dir=str(folder), **TINY)
    return folder


@pytest.fixture(scope="module")
def alone(rsna_prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on images one by one."""
    folder = tmp_path_factory.mktemp("alone")
    run("train", dataset_dir=str(rsna_prepared), output_dir=str(folder), **ALONE)
    return folder


@pytest.fixture(scope="module")
def evaluated(trained: Path, rsna_prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    options = {"dataset_dir": str(rsna_prepared), "ckpt_dir": str(trained / "models"), "output_dir": str(folder)}
    run("eval", more=("evaluate",), **options, **TINY)
    return folder


def test_training_leaves_weights_tables_and_figures(trained: Path) -> None:
    files = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    expected = {"models/model.pt", "models/model_last.pt", "models/checkpoint.pt", "models/model.json", "history.csv"}
    expected |= {"predictions.csv", "breasts.csv", "patients.csv", "metrics.csv", "config.json"}
    expected |= {f"figures/{name}.png" for name in ("training_curves", "roc", "precision_recall", "reliability")}
    assert expected <= files
    point = json.loads((trained / "models" / "model.json").read_text())
    assert point["level"] == "breast" and point["calibration"]["kind"] == "platt" and point["views"] == ["CC", "MLO"]
    assert set(point["thresholds"]) == {"fixed=.5", "best_f1", "sensitivity=.9", "specificity=.9", "recall_rate=.1"}


def test_the_mlflow_run_can_be_found_by_its_tags(trained: Path) -> None:
    filters = "tags.bundle = 'rsna_classifier' and tags.experiment = 'ours' and tags.fold = '0'"
    found = mlflow.search_runs(experiment_names=[BUNDLE], filter_string=filters)
    one = found[found["run_id"] == json.loads((trained / "mlflow_run.json").read_text())["run_id"]].iloc[0]
    assert one["status"] == "FINISHED" and len(one["tags.data_fingerprint"]) == 64
    assert {"metrics.validation_breast_roc_auc", "metrics.validation_breast_roc_auc_low"} <= set(found)
    assert "difficult_negative_case" in one["params.heads"] and one["params.views"] == "['CC', 'MLO']"


def test_an_evaluation_is_scored_per_breast_from_its_table(evaluated: Path, trained: Path, rsna_prepared: Path) -> None:
    table = pd.read_csv(evaluated / "predictions.csv", dtype={"patient_id": str})
    items = [i for i in json.loads((rsna_prepared / "datalist.json").read_text())["items"] if i["split"] == "test"]
    breasts = {(str(i["patient_id"]), i["laterality"]) for i in items}
    assert set(zip(table["patient_id"], table["laterality"], strict=True)) == breasts
    metrics = pd.read_csv(evaluated / "metrics.csv").set_index("metric")
    assert metrics.loc["breast_roc_auc", "value"] == pytest.approx(roc_auc(table["positive"], table["probability"])[0])
    assert not [name for name in metrics.index if name.startswith("image_")]  # a row is a breast here
    point = json.loads((trained / "models" / "model.json").read_text())
    assert (table["threshold"] == point["threshold"]).all() and (table["raw_probability"] != table["probability"]).any()


def test_another_wish_changes_the_threshold_alone(trained: Path, rsna_prepared: Path, tmp_path: Path) -> None:
    options = {"dataset_dir": str(rsna_prepared), "ckpt_dir": str(trained / "models"), "mlflow": False, **TINY}
    for wish in ("best_f1", "sensitivity=.9"):
        run("eval", more=("evaluate",), wish=wish, output_dir=str(tmp_path / wish), **options)
    one, two = (pd.read_csv(tmp_path / w / "predictions.csv") for w in ("best_f1", "sensitivity=.9"))
    pd.testing.assert_series_equal(one["probability"], two["probability"])
    thresholds = json.loads((trained / "models" / "model.json").read_text())["thresholds"]
    assert two["threshold"][0] == thresholds["sensitivity=.9"]


def studies(rsna_phantoms: Path, folder: Path, patients: int = 2) -> list[Path]:
    """Lay a few patients' DICOM files out as a PACS would: folders without meaning, names without suffixes."""
    made = []
    for number, patient in enumerate(sorted((rsna_phantoms / "train_images").iterdir())[:patients]):
        for place, file in enumerate(sorted(patient.iterdir())):
            target = folder / f"DIR{number}" / f"S{place % 2}" / f"IM{place:04d}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
            made.append(target)
    return made


def test_inference_on_studies_gives_breasts_patients_and_overlays(
    trained: Path, rsna_phantoms: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    files = studies(rsna_phantoms, folder)
    files[0].write_bytes(files[0].read_bytes()[:-4000])  # its partner stays alone in its breast
    (folder / "note.dcm").write_bytes(b"not a picture")
    options = {"dataset_dir": str(folder), "output_dir": str(out), "ckpt_dir": str(trained / "models")}
    tiny = {key: TINY[key] for key in ("image_size", "backbone", "batch_size", "num_workers")}
    run("infer", first="inference", **options, **tiny)
    table = pd.read_csv(out / "predictions.csv")
    assert {"image", "patient_id", "laterality", "probability", "threshold", "called", "remarks"} <= set(table)
    assert len(pd.read_csv(out / "breasts.csv")) == 4
    assert list(pd.read_csv(out / "patients.csv")["patient_id"]) == ["patient_00001", "patient_00002"]
    rejected = pd.read_csv(out / "rejected.csv").set_index("image")["reason"]
    assert set(rejected.index) == {"note.dcm", files[0].relative_to(folder).as_posix()}
    for file in files[1:]:
        source = pydicom.dcmread(file)
        overlay = out / "overlays" / file.relative_to(folder).with_suffix(".png")
        assert Image.open(overlay).size == (source.Columns, source.Rows)
    names = {str(pydicom.dcmread(file).get("PatientID")) for file in files[1:]}
    written = "".join(path.read_text() for path in out.glob("*.csv"))
    assert not [name for name in names if name in written]


@pytest.mark.slow
def test_a_thousand_files_with_fifty_bad_ones(alone: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    rng = np.random.default_rng(0)
    for number in range(1000):
        path = folder / f"{number:04d}.tif"
        write_mammogram(path, rng.random((32, 24), np.float32), 8)
        if number % 20 == 7:
            path.write_bytes(path.read_bytes()[: number % 3 * 40])
    options = {"dataset_dir": str(folder), "output_dir": str(out), "ckpt_dir": str(alone / "models")}
    tiny = {key: ALONE[key] for key in ("image_size", "backbone", "num_workers", "views", "fusion")}
    run("infer", first="inference", **options, **tiny, batch_size=50, saliency=False)
    assert len(pd.read_csv(out / "predictions.csv")) == 950
    rejected = pd.read_csv(out / "rejected.csv")
    assert len(rejected) == 50 and rejected["reason"].str.len().min() > 10


def test_images_one_by_one_with_a_view_that_was_not_trained_on(
    alone: Path, rsna_phantoms: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    files = studies(rsna_phantoms, folder, patients=1)
    odd = pydicom.dcmread(files[0])
    odd.ViewPosition = "XCCL"
    odd.save_as(files[0])
    picture, _ = read_mammogram(files[1])
    write_mammogram(folder / "bare.tif", picture)
    options = {"dataset_dir": str(folder), "output_dir": str(out), "ckpt_dir": str(alone / "models")}
    tiny = {key: ALONE[key] for key in ("image_size", "backbone", "batch_size", "num_workers", "views", "fusion")}
    run("infer", first="inference", **options, **tiny, prevalence=0.01)
    table = pd.read_csv(out / "predictions.csv", keep_default_na=False).set_index("image")
    assert len(table) == 5 and "view_not_trained_on" in table.loc["DIR0/S0/IM0000", "remarks"]
    assert table.loc["bare.tif", "view"] == "" and "view_not_trained_on" not in table.loc["bare.tif", "remarks"]
    assert len(pd.read_csv(out / "breasts.csv")) == 2
    assert (out / "overlays" / "bare.png").is_file()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"pretrained": True, "backbone": "resnet10t"}, "cannot be fetched"),
        ({"views": ["AT"]}, "No breast has an image of the views"),
        ({"sampling": "rare"}, "Unknown sampling 'rare'"),
        ({"backbone": "resnet1"}, "timm has no network 'resnet1'"),
        ({"heads": [{"name": "nodules"}]}, "no 'nodules'|has 'nodules'"),
    ],
    ids=["no network", "unseen views", "sampling", "backbone", "label"],
)
def test_what_cannot_run_says_what_to_do(
    overrides, message, rsna_prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    options = {**TINY, "dataset_dir": str(rsna_prepared), "output_dir": str(tmp_path), "mlflow": False, **overrides}
    with pytest.raises(Exception) as caught:
        run("train", **options)
    assert re.search(message, "".join(map(str, _chain(caught.value))))


def _chain(error: BaseException | None) -> list[BaseException]:
    found = []
    while error is not None:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


@pytest.mark.parametrize("experiment", [None, "gatech_baseline", "gatech_augmentations"])
def test_augmentation_leaves_the_cache_as_it_is(experiment: str | None, rsna_prepared: Path) -> None:
    """Some of MONAI's transforms write into their input: they must meet a copy."""
    parser = ConfigParser()
    parser.read_config(config_files(BUNDLE, experiment))
    parser.update({"dataset_dir": str(rsna_prepared), "image_size": [64, 48], "cache_rate": 1.0})
    dataset = parser.get_parsed_content("train#dataset")
    before = [item["image"].clone() for item in dataset._cache]
    drawn = [[dataset[i]["image"] for i in range(len(dataset))] for _ in range(3)]
    assert not all(torch.equal(one, two) for one, two in zip(*drawn[:2], strict=True))
    assert all(torch.equal(item["image"], copy) for item, copy in zip(dataset._cache, before, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("experiment", [None, "gatech_baseline"], ids=["ours", "lookahead"])
def test_a_killed_run_resumes_to_the_same_weights(experiment, rsna_prepared: Path, tmp_path: Path) -> None:
    """Equal to the bit; and so equal seeds give equal results."""
    options = {**TINY, "epochs": 6, "dataset_dir": str(rsna_prepared), "mlflow": False}
    run("train", experiment=experiment, output_dir=str(tmp_path / "whole"), **options)
    killed = {**options, "output_dir": str(tmp_path / "killed")}
    files = ",".join(f"'{name}'" for name in config_files(BUNDLE, experiment))
    words = [word for key, value in killed.items() for word in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", f"[{files}]", *words]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    checkpoint = tmp_path / "killed" / "models" / "checkpoint.pt"
    deadline = time.time() + 300
    while time.time() < deadline and process.poll() is None:
        if checkpoint.is_file() and torch.load(checkpoint)["epoch"] >= 3:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run had ended before it could be killed"
    run("train", experiment=experiment, **killed, resume=True)
    whole, resumed = (torch.load(tmp_path / n / "models" / "model_last.pt") for n in ("whole", "killed"))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


@pytest.mark.slow
def test_two_processes_score_as_one(rsna_prepared: Path, tmp_path: Path) -> None:
    """torchrun over gloo: every breast is scored once, and the metrics are those of one process."""
    options = {**TINY, "dataset_dir": rsna_prepared, "output_dir": tmp_path / "two", "epochs": 1, "mlflow": False}
    train_in_two_processes(BUNDLE, **options)
    one = {"dataset_dir": str(rsna_prepared), "ckpt_dir": str(tmp_path / "two" / "models"), "part": "validation"}
    run("eval", more=("evaluate",), **one, output_dir=str(tmp_path / "one"), mlflow=False, **TINY)
    two, single = (pd.read_csv(tmp_path / n / "metrics.csv") for n in ("two", "one"))
    pd.testing.assert_frame_equal(two, single, atol=1e-5)


@pytest.mark.slow
def test_folds_their_ensemble_and_flips(script, rsna_prepared: Path, tmp_path: Path) -> None:
    options = {**ALONE, "epochs": 1, "dataset_dir": str(rsna_prepared), "output_dir": str(tmp_path)}
    script("cross_validate").cross_validate(BUNDLE, experiment="ladder_crop", **options, test_time_flips=True)
    table = pd.read_csv(tmp_path / "predictions.csv")
    assert sorted(table["fold"].unique()) == [0, 1] and table["image"].is_unique
    metrics = pd.read_csv(tmp_path / "metrics.csv").set_index("metric")
    assert {"image_roc_auc", "breast_roc_auc", "patient_roc_auc"} <= set(metrics.index)
    points = json.loads((tmp_path / "operating_points.json").read_text())
    assert (table[table["fold"] == 0]["threshold"] == points["0"]["threshold"]).all()
    assert pd.read_csv(tmp_path / "ensemble" / "metrics.csv")["value"].notna().any()


BACKBONES = {"seresnext50_32x4d": "resnet10t", "deit3_base_patch16_384": "test_vit"}


@pytest.mark.slow
def test_every_experiment_trains_evaluates_and_is_compared(script, rsna_prepared: Path, tmp_path: Path, capsys) -> None:
    """With nothing overridden but backbone, size, batch and epochs."""
    folder = Path(config_files(BUNDLE)[0]).parent / "experiments"
    names = [None, *(path.stem for path in sorted(folder.glob("*.json")))]
    small = {
        "image_size": [64, 64],
        "epochs": 1,
        "batch_size": 4,
        "pretrained": False,
        "num_workers": 0,
        "resamples": 50,
    }
    for name in names:
        parser = ConfigParser()
        parser.read_config(config_files(BUNDLE, name))
        small["backbone"] = BACKBONES.get(parser.config["backbone"], "test_efficientnet")
        out = tmp_path / str(name)
        data = {"dataset_dir": str(rsna_prepared), **small}
        run("train", experiment=name, **data, output_dir=str(out))
        run("eval", experiment=name, more=("evaluate",), **data, ckpt_dir=str(out / "models"),
            output_dir=str(out / "test"))  # fmt: skip
        assert pd.read_csv(out / "test" / "metrics.csv")["value"].notna().any()
    script("compare_experiments").compare_experiments(BUNDLE, output_dir=str(tmp_path / "table"), resamples=100)
    table = pd.read_csv(tmp_path / "table" / "comparison.csv").set_index("experiment")
    assert {"ours", *(path.stem for path in folder.glob("*.json"))} <= set(table.index)
    assert table.drop(index="ours")["difference_low"].notna().all() and np.isnan(table.loc["ours", "difference_value"])
    assert "less that of `ours`" in capsys.readouterr().out

"""The bundle at work on phantoms: training, evaluation, inference, resume, folds, experiments."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from PIL import Image
from running import train_in_two_processes

from common.data.pixels import read_grey
from common.metrics.calibration import calibrated_classes
from common.metrics.tables import lesion_dice

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "bundles" / "busi_attention_unet" / "configs"
CLASSES = ["benign", "malignant", "normal"]
TINY = {"image_size": [32, 32], "epochs": 2, "val_interval": 1, "batch_size": 8, "cache_rate": 1.0}
NETWORK = {"network_def#channels": [8, 16, 16, 24], "network_def#blocks": [1, 1, 1, 1]}


def run(names: list[str], kind: str, **overrides) -> ConfigWorkflow:
    files = [str(CONFIGS / f"{name}.json") for name in names]
    meta = str(CONFIGS / "metadata.json")
    workflow = ConfigWorkflow(files, meta_file=meta, logging_file=False, workflow_type=kind, **overrides)
    workflow.initialize()
    workflow.run()
    return workflow


def command(names: list[str], run_id: str, **overrides) -> list[str]:
    files = "[" + ",".join(f"'{CONFIGS / name}.json'" for name in names) + "]"
    options = [word for key, value in overrides.items() for word in (f"--{key}", str(value))]
    return [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", files, *options]


@pytest.fixture(scope="module")
def trained(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    run(["train"], "train", dataset_dir=str(prepared), output_dir=str(folder), **TINY, **NETWORK)
    return folder


@pytest.fixture(scope="module")
def evaluated(trained: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    options = {"dataset_dir": str(prepared), "ckpt_dir": str(trained / "models"), "output_dir": str(folder)}
    run(["train", "evaluate"], "eval", **options, **TINY, **NETWORK)
    return folder


def test_training_leaves_weights_tables_and_figures(trained: Path) -> None:
    files = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    expected = {"models/model.pt", "models/model_last.pt", "models/checkpoint.pt", "models/model.json", "history.csv"}
    expected |= {"predictions.csv", "mask_areas.csv", "metrics.csv", "config.json", "figures/training_curves.png"}
    expected |= {f"figures/{name}.png" for name in ("roc_curves", "confusion", "threshold_curve", "overlays")}
    assert expected <= files
    assert len(pd.read_csv(trained / "history.csv")) == TINY["epochs"]
    assert not list(trained.rglob(".*.part"))


def test_the_mlflow_run_is_finished_and_complete(trained: Path) -> None:
    found = mlflow.get_run(json.loads((trained / "mlflow_run.json").read_text())["run_id"])
    assert found.info.status == "FINISHED" and found.info.run_name == "ours"
    assert found.data.params["batch_size"] == "8" and found.data.params["image_size"] == "[32, 32]"
    assert len(found.data.params["data_fingerprint"]) == 64
    assert {"train_loss", "validation_dice", "validation_dice_low"} <= set(found.data.metrics)
    assert found.inputs.dataset_inputs[0].dataset.name == "BUSI"
    client = mlflow.MlflowClient()
    assert len(client.get_metric_history(found.info.run_id, "train_loss")) == TINY["epochs"]
    logged = {a.path for folder in ("", "figures", "models") for a in client.list_artifacts(found.info.run_id, folder)}
    assert {"predictions.csv", "figures/overlays.png", "models/model.pt", "config.json"} <= logged
    assert "models/checkpoint.pt" not in logged


def test_an_evaluation_is_scored_from_its_table(evaluated: Path, prepared: Path) -> None:
    predictions = pd.read_csv(evaluated / "predictions.csv")
    items = json.loads((prepared / "datalist.json").read_text())["items"]
    assert len(predictions) == sum(item["split"] == "test" for item in items)
    assert {"image", "group_id", "label", "p_benign", "p_malignant", "p_normal", "predicted"} <= set(predictions)
    metrics = pd.read_csv(evaluated / "metrics.csv").set_index("metric")
    assert metrics.loc["dice", "value"] == pytest.approx(np.nanmean(lesion_dice(predictions)))
    assert metrics.loc["accuracy", "value"] == pytest.approx((predictions["label"] == predictions["predicted"]).mean())


def test_evaluation_uses_the_threshold_chosen_on_validation(trained: Path, evaluated: Path) -> None:
    point = json.loads((trained / "models" / "model.json").read_text())
    assert point["chosen_on"] == "validation" and point["fold"] == 0
    predictions = pd.read_csv(evaluated / "predictions.csv").set_index("image")
    areas = pd.read_csv(evaluated / "mask_areas.csv")
    at = areas[np.isclose(areas["threshold"], point["mask_threshold"])].set_index("image")["predicted_px"]
    called = predictions["predicted"] != "normal"
    raw, shown = (predictions[[f"{name}_{c}" for c in CLASSES]].to_numpy() for name in ("raw", "p"))
    np.testing.assert_allclose(calibrated_classes(raw, point["calibration"]), shown, atol=1e-6)
    assert (predictions["predicted_px"] == at.loc[predictions.index] * called).all()


def test_areas_are_those_of_the_source(evaluated: Path, prepared: Path) -> None:
    predictions = pd.read_csv(evaluated / "predictions.csv").set_index("image")
    for item in json.loads((prepared / "datalist.json").read_text())["items"]:
        name = "/".join(Path(item["image"]).parts[-2:])
        if name in predictions.index:
            assert predictions.loc[name, "true_px"] == (read_grey(prepared / item["mask"]) > 0.5).sum()


def test_inference_writes_at_the_sources_size(trained: Path, phantoms: Path, tmp_path: Path, write_ultrasound) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    source = phantoms / "benign" / "benign (1).png"
    (folder / "a.png").write_bytes(source.read_bytes())
    Image.open(source).convert("RGB").save(folder / "b.jpg", quality=95)
    write_ultrasound(folder / "c.dcm", np.asarray(Image.open(source).convert("L")))
    (folder / "bad.png").write_bytes(b"nothing")
    options = {"dataset_dir": str(folder), "output_dir": str(out), "ckpt_dir": str(trained / "models")}
    run(["inference"], "infer", **options, image_size=[32, 32], **NETWORK)
    table = pd.read_csv(out / "predictions.csv")
    assert list(table) == ["image", "p_benign", "p_malignant", "p_normal", "lesion_area_px"]
    assert list(table["image"]) == ["a.png", "b.jpg", "c.dcm"]
    np.testing.assert_allclose(table[["p_benign", "p_malignant", "p_normal"]].sum(1), 1, atol=1e-5)
    mask = np.asarray(Image.open(out / "masks" / "a.png"))
    assert mask.shape == read_grey(source).shape and set(np.unique(mask)) <= {0, 255}
    assert (mask > 0).sum() == table["lesion_area_px"][0]
    np.testing.assert_allclose(table.iloc[0, 1:].astype(float), table.iloc[2, 1:].astype(float), rtol=1e-4)
    assert Image.open(out / "overlays" / "b.png").size == mask.shape[::-1]
    assert "bad.png" in (out / "rejected.csv").read_text()


def test_the_weights_that_come_along_work_out_of_the_box(phantoms: Path, tmp_path: Path) -> None:
    run(["inference"], "infer", dataset_dir=str(phantoms / "normal"), output_dir=str(tmp_path))
    assert len(pd.read_csv(tmp_path / "predictions.csv")) == len(list((tmp_path / "overlays").glob("*.png")))
    assert (CONFIGS.parent / "models" / "model.pt").stat().st_size < 30e6


@pytest.mark.parametrize(
    ("names", "overrides", "message"),
    [
        (["train"], {"fold": 9}, "no fold 9"),
        (["train"], {"dataset_dir": "nowhere"}, "No datalist.json in 'nowhere'"),
        (["train"], {"resume": True}, "Nothing to resume"),
        (["train", "evaluate"], {"ckpt_dir": "nowhere"}, "at 'nowhere/model."),
        (["inference"], {"dataset_dir": "nowhere"}, "There is no folder 'nowhere'"),
    ],
    ids=["fold 9", "no data", "nothing to resume", "no weights", "no images"],
)
def test_what_cannot_run_says_what_to_do(
    names, overrides, message, prepared: Path, trained: Path, tmp_path: Path
) -> None:
    options = {"dataset_dir": str(prepared), "output_dir": str(tmp_path), **TINY, **NETWORK}
    if names != ["train"]:
        options["ckpt_dir"] = str(trained / "models")
    with pytest.raises(Exception) as caught:
        run(names, "train", run_id="run", **{**options, **overrides})
    causes = [caught.value]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    assert any(message in str(cause) for cause in causes)


def test_another_networks_weights_are_refused(trained: Path, prepared: Path, tmp_path: Path) -> None:
    options = {"dataset_dir": str(prepared), "ckpt_dir": str(trained / "models"), "output_dir": str(tmp_path)}
    with pytest.raises(RuntimeError) as caught:
        run(["train", "evaluate"], "eval", **options, **TINY)
    assert "another network" in repr(caught.getrepr(style="long"))


def test_augmentation_leaves_the_cache_as_it_is(prepared: Path) -> None:
    """The cache hands out its items uncopied, so nothing may write into them."""
    parser = ConfigParser()
    parser.read_config(str(CONFIGS / "train.json"))
    parser.update({"dataset_dir": str(prepared), "image_size": [32, 32]})
    dataset = parser.get_parsed_content("train#dataset")
    before = [{key: item[key].clone() for key in ("image", "mask")} for item in dataset._cache]
    drawn = [[dataset[i] for i in range(len(dataset))] for _ in range(2)]
    assert not all(torch.equal(one["image"], two["image"]) for one, two in zip(*drawn, strict=True))
    for item, copy in zip(dataset._cache, before, strict=True):
        assert torch.equal(item["image"], copy["image"]) and torch.equal(item["mask"], copy["mask"])


def test_a_finished_run_is_not_overwritten(trained: Path, prepared: Path) -> None:
    before = (trained / "models" / "model.pt").read_bytes()
    with pytest.raises(Exception, match=r"trainer"):
        run(["train"], "train", dataset_dir=str(prepared), output_dir=str(trained), **TINY, **NETWORK)
    assert (trained / "models" / "model.pt").read_bytes() == before


def test_a_failed_run_is_marked_failed(prepared: Path, tmp_path: Path) -> None:
    options = {**TINY, **NETWORK, "learning_rate": "$1/0 if False else 0.1", "resume": True}
    with pytest.raises(RuntimeError):
        run(["train"], "train", dataset_dir=str(prepared), output_dir=str(tmp_path), run_name="doomed", **options)
    runs = mlflow.search_runs(experiment_names=["busi_attention_unet"], filter_string="run_name = 'doomed'")
    assert list(runs["status"]) == ["FAILED"]


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(prepared: Path, tmp_path: Path) -> None:
    """Equal to the bit, in the same MLflow run."""
    options = {**TINY, **NETWORK, "epochs": 6}
    run(["train"], "train", dataset_dir=str(prepared), output_dir=str(tmp_path / "whole"), **options)
    killed = {"dataset_dir": str(prepared), "output_dir": str(tmp_path / "killed"), **options, "run_name": "killed"}
    process = subprocess.Popen(command(["train"], "training", **killed), stderr=subprocess.DEVNULL)
    checkpoint = tmp_path / "killed" / "models" / "checkpoint.pt"
    _kill_after_epoch(process, checkpoint, 3)
    first = json.loads((tmp_path / "killed" / "mlflow_run.json").read_text())["run_id"]
    run(["train"], "train", **killed, resume=True)
    whole, resumed = (torch.load(tmp_path / n / "models" / "model_last.pt") for n in ("whole", "killed"))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert json.loads((tmp_path / "killed" / "mlflow_run.json").read_text())["run_id"] == first
    assert mlflow.get_run(first).info.status == "FINISHED"
    history = [pd.read_csv(tmp_path / n / "history.csv") for n in ("whole", "killed")]
    pd.testing.assert_frame_equal(*history)


def _kill_after_epoch(process: subprocess.Popen, checkpoint: Path, epoch: int) -> None:
    deadline = time.time() + 300
    while time.time() < deadline and process.poll() is None:
        if checkpoint.is_file() and torch.load(checkpoint)["epoch"] >= epoch:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run had ended before it could be killed"


@pytest.mark.slow
def test_experiments_train_and_evaluate(prepared: Path, tmp_path: Path, script) -> None:
    """Every row of the paper, chained as its overlay says, with nothing overridden but size."""
    cross_validate = script("cross_validate").cross_validate
    given = {"dataset_dir": str(prepared), "epochs": 1, "val_interval": 1, "batch_size": 8}
    cross_validate("busi_attention_unet", experiment="bocconi_attention_unet", folds=[0, 1, 2, 3, 4],
                   output_dir=str(tmp_path / "masks"), **given)  # fmt: skip
    cross_validate("busi_attention_unet", experiment="without_normals", folds=0, image_size=[32, 32],
                   output_dir=str(tmp_path / "without"), **given)  # fmt: skip
    small = {**given, "folds": 0, "pretrained": False, "image_size": [64, 64], "crop_size": [48, 48]}
    cross_validate("busi_attention_unet", experiment="bocconi_resnet18", output_dir=str(tmp_path / "class"), **small)
    small |= {"predicted_masks": str(tmp_path / "masks" / "masks.csv"), "output_dir": str(tmp_path / "both")}
    cross_validate("busi_attention_unet", experiment="bocconi_resnet18,bocconi_resnet18_mask", **small)
    dirs = {"classifier_dir": "class", "segmenter_dir": "masks"}
    options = {key: str(tmp_path / name / "fold_0" / "models") for key, name in dirs.items()}
    names = ["train", "evaluate", "experiments/bocconi_cascade"]
    run(names, "eval", dataset_dir=str(prepared), output_dir=str(tmp_path / "cascade"), **options)
    folder = Path(json.loads((prepared / "datalist.json").read_text())["source_dir"]) / "normal"
    inference = ["inference", "experiments/bocconi_cascade"]
    run(inference, "infer", dataset_dir=str(folder), output_dir=str(tmp_path / "infer"), **options)
    assert {"p_benign", "lesion_area_px"} <= set(pd.read_csv(tmp_path / "infer" / "predictions.csv"))
    out_of_fold = pd.read_csv(tmp_path / "masks" / "predictions.csv")
    assert sorted(out_of_fold["fold"].unique()) == [0, 1, 2, 3, 4] and out_of_fold["image"].is_unique
    for name in ("masks", "masks/ensemble", "without/fold_0", "class/fold_0", "both/fold_0", "cascade"):
        assert pd.read_csv(tmp_path / name / "metrics.csv")["value"].notna().any()
    parents = mlflow.search_runs(experiment_names=["busi_attention_unet"])
    children = parents[parents["tags.mlflow.parentRunId"].notna()]
    assert len(children) >= 15 and set(children["status"]) == {"FINISHED"}


@pytest.mark.slow
def test_two_processes_score_as_one(trained: Path, prepared: Path, tmp_path: Path) -> None:
    """torchrun over gloo: every image is scored once, and the metrics are those of one process."""
    options = {**TINY, **NETWORK, "dataset_dir": prepared, "output_dir": tmp_path / "two", "epochs": 1, "mlflow": False}
    train_in_two_processes("busi_attention_unet", **options)
    one = {"dataset_dir": str(prepared), "ckpt_dir": str(tmp_path / "two" / "models"), "part": "validation"}
    run(["train", "evaluate"], "eval", **one, output_dir=str(tmp_path / "one"), **TINY, **NETWORK)
    two, single = (pd.read_csv(tmp_path / n / "metrics.csv") for n in ("two", "one"))
    pd.testing.assert_frame_equal(two, single, atol=1e-6)


@pytest.mark.slow
def test_it_runs_from_another_folder_and_ends_bad_runs_in_one_message(prepared: Path, tmp_path: Path) -> None:
    options = {**TINY, **NETWORK, "dataset_dir": prepared, "output_dir": tmp_path / "out", "epochs": 1}
    options |= {"resume": "false", "amp": "false", "test_time_flips": "true"}
    good = subprocess.run(
        command(["train"], "training", **options), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert good.returncode == 0, good.stderr[-3000:]
    bad = {**options, "output_dir": tmp_path / "bad"}
    silent = {**os.environ, "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    for changes, environment, message in (
        ({"fold": 9}, None, "error: There is no fold 9"),
        ({}, silent, "error: MLflow does not answer at MLFLOW_TRACKING_URI=http://127.0.0.1:9"),
    ):
        words = command(["train"], "training", **{**bad, **changes})
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode != 0 and message in done.stderr
        assert "Traceback" not in done.stderr


def test_weights_of_all_folds_take_their_operating_point_from_cross_validation(prepared: Path, tmp_path: Path) -> None:
    names, data = ["train", "experiments/all_folds"], {"dataset_dir": str(prepared)}
    with pytest.raises(Exception, match=r"operating_point|ReleaseLastWeights"):
        run(names, "train", **data, output_dir=str(tmp_path / "no"), **TINY, **NETWORK)
    point = tmp_path / "point.json"
    point.write_text('{"mask_threshold": 0.3, "normal_threshold": 0.2}')
    given = {**data, "output_dir": str(tmp_path / "run"), "chosen_point": str(point), **TINY, **NETWORK}
    workflow = run(names, "train", **given)
    items = json.loads((prepared / "datalist.json").read_text())["items"]
    assert len(workflow.parser.get_parsed_content("train#items")) == sum(i["split"] == "train" for i in items)
    models = tmp_path / "run" / "models"
    saved = json.loads((models / "model.json").read_text())
    assert saved["mask_threshold"] == 0.3 and saved["chosen_on"] == "out of fold"
    assert (models / "model.pt").read_bytes() == (models / "model_last.pt").read_bytes()
    options = {**data, "ckpt_dir": str(models), "output_dir": str(tmp_path / "test"), **TINY, **NETWORK}
    run(["train", "evaluate"], "eval", **options)
    assert (tmp_path / "test" / "metrics.csv").is_file()

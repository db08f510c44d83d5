"""The detector at work on phantoms: training, evaluation, inference on the source's pixels, all experiments."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose
from PIL import Image
from running import run_bundle, train_in_two_processes

from common.data.bundle import config_files
from common.data.datalist import load_datalist
from common.data.detection_items import detection_items
from common.data.mammogram import read_mammogram
from common.handlers.detection_results import SaveDetections
from common.networks.patch_classifier import PatchClassifier
from common.networks.regions import DEVIATION, MEAN, RegionClassifier
from common.reports.detection_speed import compare_inference
from common.reports.sliding_speed import enliven
from common.reports.training_speed import compare_training

BUNDLE = "cbis_maskrcnn"
run = partial(run_bundle, BUNDLE)
NETWORK = {"image_size": [64, 64], "whole_size": [128, 128], "backbone": "resnet18", "norm": "batch", "pyramid": 32}
NETWORK |= {"anchors": [8, 16, 32, 48, 64], "batch_size": 2, "num_workers": 0}
FEW = {"rpn_pre_nms_top_n_train": 100, "rpn_pre_nms_top_n_test": 100, "rpn_post_nms_top_n_train": 50}
NETWORK |= {"network_options": {**FEW, "rpn_post_nms_top_n_test": 30, "box_batch_size_per_image": 16}}
TINY = {**NETWORK, "pretrained": False, "epochs": 2, "optimizer_name": "adamw", "learning_rate": 1e-4, "resamples": 50}
STAGES = [{"epochs": 1, "trainable": "heads"}, {"epochs": 1, "trainable": "all", "rate": 0.1}]


@pytest.fixture(scope="module")
def trained(cbis_prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    run("train", dataset_dir=str(cbis_prepared), output_dir=str(folder), **TINY, stages=STAGES)
    return folder


def test_training_leaves_weights_an_operating_point_and_a_report(trained: Path) -> None:
    point = json.loads((trained / "models" / "model.json").read_text())
    assert point["score_threshold"] > 0 and point["chosen_on"] == "validation" and point["classes"] == ["mass"]
    history = pd.read_csv(trained / "history.csv")
    assert history["learning_rate"].tolist() == pytest.approx([1e-4, 1e-5])
    metrics = set(pd.read_csv(trained / "metrics.csv")["metric"])
    assert {"sensitivity_at_1", "lesion_dice", "max_dice", "mask_ap", "false_positives_lesion_free"} <= metrics
    assert (trained / "figures" / "froc.png").is_file()


def test_an_evaluation_accounts_for_every_lesion(trained: Path, cbis_prepared: Path, tmp_path: Path) -> None:
    options = {**TINY, "dataset_dir": str(cbis_prepared), "ckpt_dir": str(trained / "models")}
    run("eval", more=("evaluate",), **options, output_dir=str(tmp_path))
    items = detection_items(load_datalist(cbis_prepared), "test")
    masses = [lesion for item in items for lesion in item["lesions"] if lesion["label"].endswith("mass")]
    lesions, images = pd.read_csv(tmp_path / "lesions.csv"), pd.read_csv(tmp_path / "predictions.csv")
    assert set(images["image"]) == {item["name"] for item in items}
    assert lesions["x1"].notna().sum() == len(masses)
    assert images["positive"].sum() == lesions.dropna()["image"].nunique() < len(images)  # there are negatives


def test_inference_on_a_folder_with_bad_files(trained: Path, cbis_prepared: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    item = detection_items(load_datalist(cbis_prepared), "test")[0]
    picture = Path(item["image"]).read_bytes()
    (source / "film.tif").write_bytes(picture)
    (source / "broken.tif").write_bytes(picture[: len(picture) // 2])
    Image.fromarray(np.zeros((150, 90), np.uint8)).save(source / "empty.png")
    point = {"score_threshold": 0.0}
    run("infer", first="inference", **NETWORK, dataset_dir=str(source), output_dir=str(tmp_path / "out"),
        ckpt_dir=str(trained / "models"), operating_point=point, score_threshold=0.0)  # fmt: skip
    table = pd.read_csv(tmp_path / "out" / "predictions.csv").set_index("image")
    assert set(table.index) == {"film.tif", "empty.png"} and "no_breast" in table["remarks"]["empty.png"]
    assert pd.read_csv(tmp_path / "out" / "rejected.csv")["image"].tolist() == ["broken.tif"]
    found = json.loads((tmp_path / "out" / "detections.json").read_text())["images"]
    shape = read_mammogram(source / "film.tif")[0].shape
    assert np.array(Image.open(tmp_path / "out" / "masks" / "film.png")).shape == shape
    assert Image.open(tmp_path / "out" / "overlays" / "film.png").size == shape[::-1]
    boxes = np.array([one["box"] for one in found["film.tif"]])
    assert len(boxes) and table["highest_score"]["film.tif"] == max(one["score"] for one in found["film.tif"])
    assert (boxes[:, [0, 1]] <= boxes[:, [2, 3]]).all() and boxes[:, 2].max() <= shape[1] + 1


def test_boxes_and_masks_come_back_where_the_lesions_are(cbis_prepared: Path, tmp_path: Path) -> None:
    """What training takes as a lesion, inference gives back on the file's own pixels, x along the width."""
    parser = ConfigParser.load_config_files(config_files(BUNDLE))
    config = ConfigParser({**parser, "whole_size": [256, 256], "sample": [], "random_transforms": []})
    config["dataset_dir"] = str(cbis_prepared)
    steps = Compose([*config.get_parsed_content("train#deterministic_transforms")])
    targets = config.get_parsed_content("train#targets")
    checked = 0
    for item in detection_items(load_datalist(cbis_prepared), "all"):
        masses = [lesion for lesion in item["lesions"] if lesion["label"].endswith("mass")]
        if len(masses) != 1:
            continue
        loaded = targets(steps(item))
        target = loaded["target"]
        pred = {**target, "scores": torch.ones(1), "masks": target["masks"] > 0}
        handler = SaveDetections(tmp_path, ["mass"], {"score_threshold": 0.5}, steps)
        handler.save(
            SimpleNamespace(state=SimpleNamespace(batch=[{**loaded, "reason": None}], output={"pred": [pred]}))
        )
        (found,) = handler.found[item["name"]]
        x1, y1, x2, y2 = masses[0]["box"]
        np.testing.assert_allclose(found["box"], [x1, y1, x2, y2], atol=1.0)
        mask, truth = (np.array(Image.open(path)) > 0 for path in (
            tmp_path / "masks" / f"{item['name']}.png", masses[0]["mask"]))  # fmt: skip
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.85
        checked += abs((x1 + x2) - (y1 + y2)) > 20  # a box whose axes were swapped would lie elsewhere
    assert checked > 5


def test_a_second_stage_says_how_malignant_each_detection_is(
    trained: Path, cbis_prepared: Path, tmp_path: Path
) -> None:
    tiny = {"image_size": [64, 64], "backbone": "resnet10t", "pretrained": False, "epochs": 1, "batch_size": 8}
    run_bundle("cbis_patch_classifier", "train", dataset_dir=str(cbis_prepared), output_dir=str(tmp_path / "second"),
               resamples=50, num_workers=0, cache_rate=1.0, mlflow=False, **tiny)  # fmt: skip
    models = tmp_path / "second" / "models"
    item = next(item for item in detection_items(load_datalist(cbis_prepared), "test") if item["label"])
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "film.tif").write_bytes(Path(item["image"]).read_bytes())
    run("infer", first="inference", more=("classify",), **NETWORK, dataset_dir=str(tmp_path / "in"),
        output_dir=str(tmp_path / "out"), ckpt_dir=str(trained / "models"), score_threshold=0.0,
        operating_point={"score_threshold": 0.0}, classifier_dir=str(models), classifier_backbone="resnet10t",
        classifier_size=[64, 64])  # fmt: skip
    found = json.loads((tmp_path / "out" / "detections.json").read_text())["images"]["film.tif"]
    assert found and all(0 <= one["malignancy"] <= 1 and "called_malignant" in one for one in found)
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert table["highest_malignancy"].item() == pytest.approx(max(one["malignancy"] for one in found))


def test_the_second_stage_sees_the_patches_that_training_saw(script, cbis_phantoms: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = enliven(
        PatchClassifier("resnet10t", 1, (64, 64), in_channels=1, pretrained=False), torch.rand(1, 1, 256, 256)
    )
    options = {"size": 64, "max_size": None, "folds": 3, "workers": 1}  # mammograms at their own resolution
    script("prepare_cbis").prepare_cbis(str(cbis_phantoms), str(tmp_path), **options)
    items = load_datalist(tmp_path)["items"]
    patches = [item for item in items if item["context"] == "large"][:6]
    whole = {item["image_id"]: item for item in items if item["context"] == "whole"}
    say = RegionClassifier(network, [{"name": "malignant"}], {})
    for item in patches:
        film = whole[item["image_id"]]
        (lesion,) = [lesion for lesion in film["lesions"] if lesion["case"] == item["case"]]
        mask = np.array(Image.open(lesion["mask"])) > 0
        (said,) = say(read_mammogram(film["image"])[0], [mask])
        patch = (torch.from_numpy(read_mammogram(item["image"])[0])[None, None] - MEAN) / DEVIATION
        assert said["malignancy"] == pytest.approx(network(patch).sigmoid().item(), abs=1e-3)


@pytest.mark.slow
def test_two_processes_train_in_stages_and_score_as_one(cbis_prepared: Path, tmp_path: Path) -> None:
    options = {**TINY, "dataset_dir": cbis_prepared, "stages": STAGES, "mlflow": False}
    train_in_two_processes(BUNDLE, **options, output_dir=tmp_path / "two")
    one = {**options, "dataset_dir": str(cbis_prepared), "ckpt_dir": str(tmp_path / "two" / "models")}
    run("eval", more=("evaluate",), **one, output_dir=str(tmp_path / "one"), part="validation", blobs=False)
    two, single = (pd.read_csv(tmp_path / n / "metrics.csv").set_index("metric") for n in ("two", "one"))
    pd.testing.assert_frame_equal(two, single.loc[two.index], atol=1e-5)


@pytest.mark.slow
def test_a_stopped_run_resumes_in_the_right_stage(cbis_prepared: Path, tmp_path: Path) -> None:
    options = {**TINY, "dataset_dir": str(cbis_prepared), "stages": STAGES, "mlflow": False}
    options["negatives"] = False  # fewer images
    run("train", **options, output_dir=str(tmp_path / "whole"))
    run("train", **{**options, "epochs": 1}, output_dir=str(tmp_path / "parts"))
    run("train", **options, output_dir=str(tmp_path / "parts"), resume=True)
    whole, parts = (torch.load(tmp_path / n / "models" / "model_last.pt") for n in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.slow
def test_every_experiment_trains_evaluates_and_is_logged(cbis_prepared: Path, prepared: Path, tmp_path: Path) -> None:
    """With nothing overridden but sizes, batch, epochs, the networks' size and pretrained."""
    folder = Path(config_files(BUNDLE)[0]).parent / "experiments"
    small = {"epochs": 1, "batch_size": 2, "pretrained": False, "num_workers": 0, "resamples": 50}
    small |= {"backbone": "resnet18", "pyramid": 32, "image_size": [64, 64], "whole_size": [96, 96]}
    for name in [None, *(path.stem for path in sorted(folder.iterdir()))]:
        source, out = prepared if name == "busi_instances" else cbis_prepared, tmp_path / str(name)
        data = {"dataset_dir": str(source), **small}
        run("train", experiment=name, **data, output_dir=str(out))
        run("eval", experiment=name, more=("evaluate",), **data, ckpt_dir=str(out / "models"),
            output_dir=str(out / "test"))  # fmt: skip
        table = pd.read_csv(out / "test" / "metrics.csv").set_index("metric")
        assert 0 <= table["value"]["sensitivity_at_1"] <= 1
        assert json.loads((out / "test" / "mlflow_run.json").read_text())["run_id"]


@pytest.mark.slow
def test_its_speed_is_compared_with_torchvision_s_own_way(cbis_prepared: Path) -> None:
    whole = {**TINY, "dataset_dir": str(cbis_prepared), "tile": None, "sample": [], "stages": None}
    rates, _ = compare_training(BUNDLE, **whole)
    assert set(rates) == {"bundle", "bare loop", "tensors in memory"} and min(rates.values()) > 0
    rates = compare_inference(2, **whole)
    assert set(rates) == {"bundle", "torchvision"} and min(rates.values()) > 0

"""What the model zoo's tools expect of a bundle, and what training and inference must share."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, verify_metadata, verify_net_in_out

ROOT = Path(__file__).parents[2]
BUNDLES = sorted(path.parent.parent for path in ROOT.glob("bundles/*/configs/train.json"))
PREPARED = {
    "busi_attention_unet": "prepared",
    "rsna_classifier": "rsna_prepared",
    "cbis_patch_classifier": "cbis_prepared",
    "cbis_maskrcnn": "cbis_prepared",
}
PHANTOMS = {
    "busi_attention_unet": "phantoms",
    "rsna_classifier": "rsna_phantoms",
    "cbis_patch_classifier": "cbis_prepared",
    "cbis_maskrcnn": "cbis_prepared",
}
SOURCES = {
    "busi_attention_unet": "normal",
    "rsna_classifier": "train_images",
    "cbis_patch_classifier": "patches/large",
    "cbis_maskrcnn": "images",
}
DETECTOR = "cbis_maskrcnn"
SCHEMA = Path(__file__).with_name("metadata_schema.json")


@pytest.fixture(params=BUNDLES, ids=lambda path: path.name)
def bundle(request: pytest.FixtureRequest) -> Path:
    return request.param


def configs(bundle: Path, *names: str) -> list[str]:
    return [str(bundle / "configs" / f"{name}.json") for name in names]


def test_there_is_no_python_in_a_bundle(bundle: Path) -> None:
    assert not list(bundle.rglob("*.py"))


def test_the_metadata_follow_the_specification(bundle: Path) -> None:
    verify_metadata(meta_file=configs(bundle, "metadata")[0], filepath=str(SCHEMA))


def test_the_schema_refuses_what_lacks_a_required_key(bundle: Path, tmp_path: Path) -> None:
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    del metadata["network_data_format"]
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="network_data_format"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=str(SCHEMA))


def test_version_and_change_log_agree(bundle: Path) -> None:
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["version"] == next(iter(metadata["changelog"]))


@pytest.mark.parametrize("config", ["train", "inference"])
def test_the_network_fits_the_metadata(bundle: Path, config: str) -> None:
    meta, file = configs(bundle, "metadata", config)
    if bundle.name == DETECTOR:  # gives a list of dictionaries, and MONAI's tool asks for one tensor
        _verify_detector(meta, file)
        return
    verify_net_in_out("network_def", meta_file=meta, config_file=file, device="cpu", pretrained=False)


def _verify_detector(meta: str, file: str) -> None:
    described = json.loads(Path(meta).read_text())["network_data_format"]
    parser = ConfigParser({**ConfigParser.load_config_file(file), "pretrained": False})
    channels, size = described["inputs"]["image"]["num_channels"], described["inputs"]["image"]["spatial_shape"]
    network = parser.get_parsed_content("network_def").eval()
    with torch.no_grad():
        (found,) = network([torch.rand(channels, *size)])
    for name in ("boxes", "labels", "scores", "masks"):
        assert name in found and name in described["outputs"]["pred"]["channel_def"]["0"]
    assert found["masks"].shape[1:] == (1, *size)


@pytest.mark.parametrize(
    ("kind", "names"),
    [("train", ["train"]), ("eval", ["train", "evaluate"]), ("infer", ["inference"])],
    ids=["train", "evaluate", "inference"],
)
def test_the_zoo_finds_its_properties(
    bundle: Path, request: pytest.FixtureRequest, tmp_path: Path, kind: str, names: list[str]
) -> None:
    prepared: Path = request.getfixturevalue(PREPARED[bundle.name])
    options = {"dataset_dir": str(prepared), "output_dir": str(tmp_path), "mlflow": False, "cache_rate": 0.0}
    options |= {"pretrained": False, "image_size": [64, 64]}
    if kind != "train":
        options |= {"weights": None, "operating_point": {"mask_threshold": 0.5, "score_threshold": 0.5}}
    if kind == "infer":
        options["dataset_dir"] = str(request.getfixturevalue(PHANTOMS[bundle.name]) / SOURCES[bundle.name])
    workflow = ConfigWorkflow(configs(bundle, *names), workflow_type=kind, logging_file=False, **options)
    workflow.initialize()
    assert workflow.check_properties() == []


REPEATED = {
    "busi_attention_unet": ("classes", "outputs", "image_size", "network_def", "test_time_flips", "channels_last"),
    "rsna_classifier": ("views", "image_size", "load_size", "heads", "crop", "resize", "normalize", "channels_last"),
    "cbis_patch_classifier": ("image_size", "heads", "head", "hidden", "resize", "normalize", "channels_last"),
    "cbis_maskrcnn": ("classes", "image_size", "whole_size", "tile", "merge", "network_options", "prepare", "anchors"),
}


def test_training_and_inference_preprocess_alike(bundle: Path) -> None:
    train, inference = (ConfigParser.load_config_file(file) for file in configs(bundle, "train", "inference"))
    for key in REPEATED[bundle.name]:
        assert train[key] == inference[key], key
    if bundle.name == "busi_attention_unet":
        ours = _image_steps(train["train"]["deterministic_transforms"])
        assert ours == _image_steps(inference["deterministic_transforms"])
        return
    flags = "common.transforms.flags.AssessQualityd"  # notes what is odd, and leaves the pixels as they are
    if bundle.name == DETECTOR:
        assert train["train"]["loading"][0] == inference["loading"][0] and inference["loading"][1]["_target_"] == flags
        assert train["train"]["deterministic_transforms"] == "$@train#loading + @prepare"
        assert inference["deterministic_transforms"] == "$@loading + @prepare"
    else:
        (each,) = train["train"]["deterministic_transforms"]
        steps = inference["each_view"]["transforms"]
        assert each["transforms"] == [step for step in steps if isinstance(step, str) or step["_target_"] != flags]
    network = {k: v for k, v in train["network_def"].items() if k in inference["network_def"]}
    assert {**network, "pretrained": False} == inference["network_def"]


def _image_steps(transforms: list[dict]) -> list[dict]:
    """The transforms that touch the image, said of the image alone."""

    def keys(transform: dict) -> list[str]:
        return [transform["keys"]] if isinstance(transform["keys"], str) else transform["keys"]

    return [{**transform, "keys": "image"} for transform in transforms if "image" in keys(transform)]


@pytest.mark.parametrize("overlay", sorted(ROOT.glob("bundles/*/configs/experiments/*.json")), ids=lambda p: p.stem)
def test_an_overlay_replaces_names_never_a_list_index(overlay: Path) -> None:
    content = json.loads(overlay.read_text())
    base = json.loads((overlay.parents[1] / "train.json").read_text())
    assert content["_desc_"]
    assert not [key for key in content if any(part.isdigit() for part in key.split("#"))]
    assert content["experiment"] == overlay.stem
    unknown = {key.split("#")[0] for key in content} - set(base)
    assert unknown <= {
        "after",
        "pretrained",
        "crop_size",
        "predicted_masks",
        "classifier_dir",
        "segmenter_dir",
        "chosen_point",
        "operating_point",
    }

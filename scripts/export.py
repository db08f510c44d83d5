"""Export a bundle's network as TorchScript or ONNX, and compare it with the original from file to result."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from monai.bundle import ConfigParser, ckpt_export, onnx_export
from PIL import Image

from common.data.bundle import bundle_root, config_files
from common.data.dicom.write import write_dicom
from common.data.study_phantoms import Drawn, draw_mammography, draw_ultrasound
from common.data.workflow import run_config
from common.reports.errors import run_command

SUFFIXES = {"torchscript": ".ts", "onnx": ".onnx"}
MOST = {"probability": 1e-4, "mask": 1e-3}  # the largest difference, and the largest share of pixels that differ
DETECTOR = "cbis_maskrcnn"


def export(
    name: str,
    format: str = "torchscript",
    ckpt_dir: str | None = None,
    experiment: str | None = None,
    images: str | None = None,
    output_dir: str = "dist",
    **overrides: Any,
) -> str:
    """Write ``<output_dir>/<name>.ts`` or ``.onnx``, after inference with it gave what the network itself gives.

    Args:
        name: of the bundle.
        format: torchscript or onnx.
        ckpt_dir: folder of ``model.pt`` and ``model.json``; the bundle's own by default.
        experiment: whose overlays the weights were trained with.
        images: a folder of images to compare on; a phantom study by default.
        output_dir: where the file goes.
        overrides: of the config, as in training: ``--backbone resnet18 --image_size "[192,120]"``.
    """
    if format not in SUFFIXES:
        raise ValueError(f"The format is one of {', '.join(SUFFIXES)}, not '{format}'.")
    weights = Path(ckpt_dir or Path(bundle_root(name)) / "models")
    if not (weights / "model.pt").is_file():
        raise FileNotFoundError(f"No weights in '{weights}': train first, and give --ckpt_dir.")
    files = config_files(name, experiment, first="inference")
    target = Path(output_dir) / f"{name}{SUFFIXES[format]}"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        given = {**overrides, "ckpt_dir": str(weights), "dataset_dir": images or str(_phantoms(folder, name))}
        draft = folder / target.name
        _convert(name, files, format, draft, weights / "model.pt", given)
        difference = compare(files, draft, folder, given)
        print(describe(name, format, difference))
        worst = [key for key, value in difference.items() if not value <= MOST[key]]
        if worst:
            raise ValueError(f"The exported network differs in {', '.join(worst)}: nothing is written.")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(draft, target)
    return str(target)


def _phantoms(folder: Path, name: str) -> Path:
    """Return a folder of a phantom study."""
    draw: Callable[..., Iterator[Drawn]] = draw_ultrasound if name == "busi_attention_unet" else draw_mammography
    for place, dataset, _ in draw(1, np.random.default_rng(0)):
        write_dicom(folder / "images" / f"{place}.dcm", dataset)
    return folder / "images"


def _convert(name: str, files: list[str], format: str, path: Path, weights: Path, given: dict[str, Any]) -> None:
    """Export by MONAI's own tools; a classifier is traced for any number of images, a detector scripted as it is."""
    shape = _shape(files, {**given, "output_dir": str(path.parent / "first")})
    options: dict[str, Any] = {"net_id": "network_def", "filepath": str(path), "ckpt_file": str(weights)}
    options |= {"meta_file": str(Path(files[0]).with_name("metadata.json")), "config_file": files, **given}
    if format == "torchscript":
        traced: dict[str, Any] = {} if name == DETECTOR else {"use_trace": True, "input_shape": shape}
        ckpt_export(**options, **traced)
        return
    if name == DETECTOR:
        _export_detector(files, path, weights, given, shape)
        return
    more: dict[str, Any] = {"dynamo": False, "input_names": ["image"], "dynamic_axes": {"image": {0: "images"}}}
    onnx_export(**options, use_trace=True, input_shape=shape, converter_kwargs=more)


def _export_detector(files: list[str], path: Path, weights: Path, given: dict[str, Any], shape: list[int]) -> None:
    """Export a network that takes a list of images, which MONAI's tool does not give."""
    parser = ConfigParser()
    parser.read_config(files)
    parser.update({**given, "weights": str(weights)})
    network = parser.get_parsed_content("network").eval()
    more: dict[str, Any] = {"input_names": ["image"], "dynamic_axes": {"image": {1: "height", 2: "width"}}}
    torch.onnx.export(network, ([torch.rand(shape)],), str(path), dynamo=False, opset_version=17, **more)


def _shape(files: list[str], given: dict[str, Any]) -> list[int]:
    """Return the shape of what goes into the network, of one image."""
    parser = ConfigParser()
    parser.read_config(files)
    parser.update(given)
    batch = next(iter(parser.get_parsed_content("dataloader")))
    image = parser.get_parsed_content("evaluator").prepare_batch(batch, torch.device("cpu"))[0]
    return list(image[0].shape) if isinstance(image, list) else [1, *image.shape[1:]]


def compare(files: list[str], exported: Path, folder: Path, given: dict[str, Any]) -> dict[str, float]:
    """Return the largest difference of a probability, and the largest share of a mask's pixels that differ."""
    own = {"network": {"_target_": "common.networks.exported.ExportedNetwork", "path": str(exported)}}
    for name in ("original", "exported"):
        run_config(files, "infer", **given, **(own if name == "exported" else {}), output_dir=str(folder / name))
    pairs = zip(_values(folder / "original"), _values(folder / "exported"), strict=True)
    found = {"probability": max(float(np.abs(a - b).max(initial=0)) for a, b in pairs)}
    masks = sorted((folder / "original" / "masks").rglob("*.png"))
    if masks:
        others = [folder / "exported" / path.relative_to(folder / "original") for path in masks]
        found["mask"] = max(_share(a, b) for a, b in zip(masks, others, strict=True))
    return found


def _values(folder: Path) -> Iterator[np.ndarray]:
    """Yield the probabilities that inference wrote: of images, and of detections."""
    table = pd.read_csv(folder / "predictions.csv")
    names = [key for key in table if str(key).startswith(("p_", "probability", "highest_"))]
    yield table[names].to_numpy(float)
    if (folder / "detections.json").is_file():
        for found in json.loads((folder / "detections.json").read_text())["images"].values():
            yield np.array([one["score"] for one in found])


def _share(one: Path, other: Path) -> float:
    return float((np.asarray(Image.open(one)) != np.asarray(Image.open(other))).mean())


def describe(name: str, format: str, difference: dict[str, float]) -> str:
    """Return the differences as a line."""
    words = {
        "probability": "largest difference of a probability",
        "mask": "largest share of a mask's pixels that differ",
    }
    said = ", ".join(f"{words[key]} {value:.1e} (at most {MOST[key]:.0e})" for key, value in difference.items())
    return f"{name} as {format}, from file to result: {said}"


if __name__ == "__main__":
    run_command(export)

"""Small networks of the four bundles with random weights, in a folder or packed."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from pack_bundle import pack_bundle

from common.data.bundle import bundle_root, config_files

SMALL: dict[str, Any] = {"image_size": [64, 64], "backbone": "resnet18"}
SETTINGS: dict[str, dict[str, Any]] = {
    "busi_attention_unet": {},
    "rsna_classifier": SMALL,
    "cbis_patch_classifier": SMALL,
    "cbis_maskrcnn": {**SMALL, "whole_size": [128, 128], "norm": "batch", "pyramid": 32, "batch_size": 2},
}
TWO_CLASS = {"threshold": 0.5, "level": "image", "rule": "mean", "thresholds": {"fixed=.5": 0.5}}
POINTS: dict[str, dict[str, Any]] = {
    "rsna_classifier": TWO_CLASS,
    "cbis_patch_classifier": TWO_CLASS,
    "cbis_maskrcnn": {"score_threshold": 0.05, "classes": ["mass"]},
}


def weights_of(name: str, folder: Path) -> str:
    """Return a folder of random weights with an operating point, or that of the bundle's own."""
    if name not in POINTS:
        return str(Path(bundle_root(name)) / "models")
    torch.manual_seed(0)
    parser = ConfigParser()
    parser.read_config(config_files(name, first="inference"))
    parser.update({**SETTINGS[name], "pretrained": False})
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(parser.get_parsed_content("network_def").state_dict(), folder / "model.pt")
    (folder / "model.json").write_text(json.dumps(POINTS[name]))
    return str(folder)


def packed(name: str, folder: Path) -> Path:
    """Return a packed bundle with such weights and their settings."""
    own = Path(pack_bundle(name, output_dir=str(folder / "plain"), verify=False))
    models = Path(weights_of(name, folder / "models"))
    with zipfile.ZipFile(own) as old, zipfile.ZipFile(folder / own.name, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith("configs/inference.json"):
                content = json.dumps({**json.loads(content), **SETTINGS[name]}).encode()
            if "/models/" not in entry.filename:
                new.writestr(entry.filename, content)
        for path in models.iterdir():
            if path.name in ("model.pt", "model.json"):
                new.write(path, f"{name}/models/{path.name}")
    return folder / own.name

"""Small networks of the four bundles with random weights, in a folder or packed."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from pack_bundle import pack_bundle

from common.reports.prediction_speed import random_weights

SMALL: dict[str, Any] = {"image_size": [64, 64], "backbone": "resnet18"}
SETTINGS: dict[str, dict[str, Any]] = {
    "busi_attention_unet": {},
    "rsna_classifier": SMALL,
    "cbis_patch_classifier": SMALL,
    "cbis_maskrcnn": {**SMALL, "whole_size": [128, 128], "norm": "batch", "pyramid": 32, "batch_size": 2},
}


def weights_of(name: str, folder: Path) -> str:
    """Return a folder of random weights with an operating point, or that of the bundle's own."""
    return str(random_weights(name, folder, **SETTINGS[name]))


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

"""Exports of all four bundles give the probabilities and masks of the network, from file to result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from small_bundles import SETTINGS, weights_of


@pytest.mark.slow
@pytest.mark.parametrize("format", ["torchscript", "onnx"])
@pytest.mark.parametrize("name", list(SETTINGS))
def test_an_export_answers_as_the_network_does(name: str, format: str, script, tmp_path: Path, capsys) -> None:
    models = weights_of(name, tmp_path / "models")
    path = Path(
        script("export").export(name, format, ckpt_dir=models, output_dir=str(tmp_path / "dist"), **SETTINGS[name])
    )
    assert path.is_file() and path.suffix == {"torchscript": ".ts", "onnx": ".onnx"}[format]
    said = capsys.readouterr().out
    assert "largest difference of a probability" in said
    assert ("pixels that differ" in said) == (name in ("busi_attention_unet", "cbis_maskrcnn"))


def test_an_export_that_answers_otherwise_is_not_written(script, tmp_path: Path, monkeypatch) -> None:
    module = script("export")
    monkeypatch.setattr(module, "_convert", lambda *args: None)
    monkeypatch.setattr(module, "compare", lambda *args: {"probability": 2e-4, "mask": float("nan")})
    monkeypatch.setattr(module, "_phantoms", lambda *args: tmp_path)
    with pytest.raises(ValueError, match="probability, mask"):
        module.export("busi_attention_unet", output_dir=str(tmp_path / "dist"))
    assert not (tmp_path / "dist").exists()


def test_differences_are_found(script, tmp_path: Path) -> None:
    for name, score in (("original", 0.5), ("exported", 0.25)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "predictions.csv").write_text(f"image,p_a,lesion_area_px\nx,{score},{score * 100}\n")
        found = {"images": {"x": [{"score": score / 2}]}}
        (folder / "detections.json").write_text(json.dumps(found))
    module = script("export")
    pairs = zip(module._values(tmp_path / "original"), module._values(tmp_path / "exported"), strict=True)
    assert [float(np.abs(a - b).max()) for a, b in pairs] == [0.25, 0.125]


@pytest.mark.parametrize(
    ("given", "words"), [({"format": "tensorrt"}, "torchscript, onnx"), ({"ckpt_dir": "nowhere"}, "No weights")]
)
def test_what_cannot_be_exported_is_said(given: dict, words: str, script) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        script("export").export("busi_attention_unet", **given)

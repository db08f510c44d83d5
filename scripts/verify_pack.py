"""See that a packed bundle works by itself: unpacked elsewhere, in an environment that does not know this checkout."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from common.data.bundle import bundle_root
from common.data.packs import unpack
from common.reports.errors import run_command

HOUSE = Path(__file__).resolve().parent.parent
SCHEMA = HOUSE / "tests" / "bundles" / "metadata_schema.json"
FEW: dict[str, Any] = {"epochs": 1, "batch_size": 2, "mlflow": "false", "num_workers": 0}
SMALL = {**FEW, "pretrained": "false"}
MAMMOGRAM = {"number": 24, "rows": 256}
PATCHES = {"max_size": 128, "size": 64, "folds": 3, "backgrounds": 2}
MAPS = {"saliency": "false"}  # of a network that has hardly been trained it is rounding error, made large
TRIALS: dict[str, dict[str, Any]] = {  # phantoms, how they are prepared, where images lie, and quick settings
    "busi_attention_unet": {
        "make": ("busi", {"number": 40}),
        "prepare": ("prepare_busi", {}),
        "images": "source/normal",
    },
    "rsna_classifier": {
        "make": ("rsna", {**MAMMOGRAM, "number": 30, "cancer_share": 0.3}),
        "prepare": ("prepare_rsna", {"folds": 2, "test_share": 0.25}),
        "images": "source/train_images/10000",
        "inference": MAPS,
        "settings": {"backbone": "resnet18", "image_size": [64, 64]},
    },
    "cbis_patch_classifier": {
        "make": ("cbis", MAMMOGRAM),
        "prepare": ("prepare_cbis", PATCHES),
        "images": "prepared/patches/crop",
        "inference": MAPS,
        "settings": {"backbone": "resnet18", "image_size": [64, 64]},
    },
    "cbis_maskrcnn": {
        "make": ("cbis", MAMMOGRAM),
        "prepare": ("prepare_cbis", PATCHES),
        "images": "prepared/images",
        "settings": {"backbone": "resnet18", "image_size": [64, 64], "whole_size": [128, 128], "norm": "batch"},
    },
}


def verify_pack(pack: str) -> None:
    """Unpack a bundle into an empty folder and run it there, without this checkout.

    Checked are: where ``common`` comes from, the metadata, what goes into the network and out of it, a training on a
    few phantoms, and inference on one of them, equal to that of this checkout's code (`same`). The weights are the
    pack's, or, where it has none, those of the training. Installed libraries are those of this environment.

    Args:
        pack: the zip.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = unpack(pack, folder / "unpacked")
        if root.name not in TRIALS:
            raise ValueError(f"'{pack}' holds '{root.name}', which is none of {', '.join(TRIALS)}.")
        python, trial = _environment(folder / "environment"), TRIALS[root.name]
        with tqdm(total=6, desc=f"Verifying {root.name}", unit="step") as bar:
            for step in (_check_place, _check_metadata, _check_network):
                step(python, root)
                bar.update()
            make_phantoms(folder, trial)
            bar.update()
            _check_training(python, root, folder, trial)
            bar.update()
            _check_inference(python, root, folder, trial)
            bar.update()


def _environment(folder: Path) -> Path:
    """Return the Python of a new environment with this one's libraries, but nothing that is installed in editable form.

    A path in a .pth file makes its packages importable without its own .pth files being read.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]
    place = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    Path(place, "libraries.pth").write_text(sysconfig.get_paths()["purelib"])
    return python


def _run(python: Path, cwd: Path, *words: str, alone: bool = True) -> str:
    """Run Python in a folder; without the variables that could lead it to a checkout, if it is to be alone."""
    variables = {k: v for k, v in os.environ.items() if not (alone and k.startswith("PYTHON"))}
    variables |= {"MLFLOW_TRACKING_URI": f"sqlite:///{cwd / 'mlflow.db'}"}
    done = subprocess.run([str(python), *words], cwd=cwd, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"The packed bundle fails at {' '.join(words)[:200]}:\n{done.stderr[-2000:]}")
    return done.stdout


def _check_place(python: Path, root: Path) -> None:
    found = _run(python, root, "-c", "import common; print(common.__file__)").strip()
    if Path(found).resolve().parent.parent != root.resolve():
        raise ValueError(f"The packed bundle takes 'common' from {found}, not from its own folder.")


def _check_metadata(python: Path, root: Path) -> None:
    words = ["--meta_file", "configs/metadata.json", "--filepath", str(SCHEMA)]
    _run(python, root, "-m", "monai.bundle", "verify_metadata", *words)


def _check_network(python: Path, root: Path) -> None:
    if root.name == "cbis_maskrcnn":
        return  # a detector gives lists, which the zoo's tool does not know; training and inference show what it gives
    files = ["--meta_file", "configs/metadata.json", "--config_file", "configs/inference.json"]
    _run(python, root, "-m", "monai.bundle", "verify_net_in_out", "network_def", *files, "--device", "cpu")


def make_phantoms(folder: Path, trial: dict[str, Any]) -> None:
    """Make the phantoms of a trial in ``source``, and prepare them in ``prepared``."""
    (kind, given), (script, settings) = trial["make"], trial["prepare"]
    getattr(importlib.import_module("make_phantoms"), kind)(str(folder / "source"), **given)
    prepare = getattr(importlib.import_module(script), script)
    prepare(source_dir=str(folder / "source"), dataset_dir=str(folder / "prepared"), **settings)


def _words(settings: dict[str, Any]) -> list[str]:
    return [word for key, value in settings.items() for word in (f"--{key}", str(value))]


def _check_training(python: Path, root: Path, folder: Path, trial: dict[str, Any]) -> None:
    places = {"dataset_dir": folder / "prepared", "output_dir": folder / "trained"}
    settings = {**(FEW if root.name == "busi_attention_unet" else SMALL), **trial.get("settings", {}), **places}
    words = ["-m", "monai.bundle", "run", "training", "--config_file", "configs/train.json", *_words(settings)]
    _run(python, root, *words)


def _check_inference(python: Path, root: Path, folder: Path, trial: dict[str, Any]) -> None:
    """Compare the pack's inference with that of this checkout's code, on one image."""
    own = (root / "models" / "model.pt").is_file()
    images = [path for path in sorted((folder / trial["images"]).rglob("*")) if path.is_file()]
    (folder / "one").mkdir()
    shutil.copy(images[0], folder / "one")
    settings = {} if own else {**trial.get("settings", {}), **trial.get("inference", {})}
    settings |= {"dataset_dir": folder / "one", "ckpt_dir": root / "models" if own else folder / "trained" / "models"}
    words = ["-m", "monai.bundle", "run", "--config_file", str(root / "configs" / "inference.json"), *_words(settings)]
    _run(python, root, *words, "--output_dir", str(folder / "there"))
    _run(Path(sys.executable), Path(bundle_root(root.name)), *words, "--output_dir", str(folder / "here"), alone=False)
    there, here = (_files(folder / name) for name in ("there", "here"))
    different = [name for name in there & here if not same(folder / "there" / name, folder / "here" / name)]
    if there != here or different or "predictions.csv" not in there:
        raise ValueError(f"The packed bundle's inference differs from this checkout's in {different or there ^ here}.")


def same(one: Path, other: Path) -> bool:
    """Return whether two results are: the same bytes, or pictures within two of 255 grey levels, or tables to 1e-5.

    Sums in another order differ in their last digit, and that can differ between two processes.
    """
    if one.read_bytes() == other.read_bytes():
        return True
    if one.suffix == ".png":
        a, b = (np.asarray(Image.open(path), int) for path in (one, other))
        return a.shape == b.shape and bool(np.abs(a - b).max() <= 2)
    if one.suffix == ".csv":
        try:
            pd.testing.assert_frame_equal(pd.read_csv(one), pd.read_csv(other), rtol=1e-5, atol=1e-6)
        except AssertionError:
            return False
        return True
    return False


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


if __name__ == "__main__":
    run_command(verify_pack)

"""Pack a bundle with the shared package into one zip that runs elsewhere, and see that it does."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
import verify_pack as verification
from monai.bundle import ConfigParser

import common
from common.data.bundle import bundle_root
from common.data.files import read_json, write_whole
from common.handlers.tracking import open_store
from common.reports.errors import run_command

WEIGHTS = ("model.pt", "model.json")
LEFT_OUT = ("__pycache__", "docs/figures")
LOCAL = {"bundle_root", "dataset_dir", "output_dir", "ckpt_dir", "history_file", "device", "amp", "num_workers"}
LOCAL |= {
    "_meta_",
    "initialize",
    "run",
    "training",
    "mlflow",
    "resume",
    "weights",
    "backbone_weights",
    "pretrained",
    "cache_rate",
    "run_name",
    "experiment",
}
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file, so that two packs of one revision are the same bytes


def pack_bundle(name: str, run_id: str | None = None, output_dir: str = "dist", verify: bool = True) -> str:
    """Write ``<output_dir>/<name>_v<version>.zip``: the bundle with ``common`` beside its configs, and its weights.

    Before it is called done it is unpacked elsewhere and run without this checkout (scripts/verify_pack.py).

    Args:
        name: of the bundle.
        run_id: of an MLflow run of the bundle's training, whose weights, operating point and settings go in; the
            bundle's own weights by default, if it has any.
        output_dir: where the zip goes.
        verify: false leaves the trial out.
    """
    root = Path(bundle_root(name))
    version = checked_version(read_json(root / "configs" / "metadata.json"), name)
    target = Path(output_dir) / f"{name}_v{version}.zip"
    with tempfile.TemporaryDirectory() as folder:
        files = dict(_files(root))
        if run_id is not None:
            files |= _run_files(root, run_id, Path(folder))
        draft = _write(Path(folder) / target.name, name, files)
        if verify:
            verification.verify_pack(str(draft))
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(draft, target.with_suffix(".part"))
        target.with_suffix(".part").replace(target)
    print(f"{target}: {target.stat().st_size / 2**20:.1f} MiB, {'verified' if verify else 'not verified'}")
    return str(target)


def checked_version(metadata: Mapping[str, Any], name: str) -> str:
    """Return the version of a bundle, which has to be the newest of its change log.

    Raises:
        ValueError: it is not.
    """
    version, log = str(metadata["version"]), metadata["changelog"]
    newest = max(log, key=lambda known: [int(part) for part in known.split(".")])
    if version != newest:
        raise ValueError(f"metadata.json of {name} has version {version}, and its change log ends with {newest}.")
    return version


def _files(root: Path) -> Iterator[tuple[str, bytes]]:
    """Yield what goes in, by its place in the zip: the bundle, its weights, and the shared package."""
    for path in sorted(root.rglob("*")):
        place = path.relative_to(root).as_posix()
        own = not place.startswith("models/") or path.name in WEIGHTS
        if path.is_file() and own and not any(part in place for part in LEFT_OUT):
            yield place, path.read_bytes()
    package = Path(common.__file__).parent
    for path in sorted(package.rglob("*.py")):
        yield f"common/{path.relative_to(package).as_posix()}", path.read_bytes()


def _write(path: Path, name: str, files: Mapping[str, bytes]) -> Path:
    def write(file: Any) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for place in sorted(files):
                entry = zipfile.ZipInfo(f"{name}/{place}", EPOCH)
                entry.external_attr, entry.compress_type = 0o100644 << 16, zipfile.ZIP_DEFLATED
                archive.writestr(entry, files[place])

    return write_whole(path, write)


def _run_files(root: Path, run_id: str, folder: Path) -> dict[str, bytes]:
    """Return a run's weights, and the configs with its settings.

    Raises:
        ValueError: there is no such run, or it has no weights, or it is one of another bundle.
    """
    open_store(root.name)
    try:
        tags = mlflow.get_run(run_id).data.tags
        place = Path(mlflow.artifacts.download_artifacts(run_id=run_id, dst_path=str(folder / "run")))
    except mlflow.MlflowException as error:
        raise ValueError(f"MLflow at {mlflow.get_tracking_uri()} has no run '{run_id}', or none with files.") from error
    if tags.get("bundle") != root.name:
        raise ValueError(f"Run {run_id} is of {tags.get('bundle', 'no bundle')}, not of {root.name}.")
    missing = [name for name in WEIGHTS if not (place / "models" / name).is_file()]
    if missing:
        raise ValueError(f"Run {run_id} has no {', '.join(missing)}: give the id of a finished training.")
    found = {f"models/{name}": (place / "models" / name).read_bytes() for name in WEIGHTS}
    trained = read_json(place / "config.json")
    plain = _parsed(root / "configs" / "train.json")
    changed = {k: v for k, v in trained.items() if k not in LOCAL and (k not in plain or plain[k] != v)}
    for config in ("train", "inference"):
        settled = adopt(read_json(root / "configs" / f"{config}.json"), changed, config == "train")
        found[f"configs/{config}.json"] = json.dumps(settled, indent=4, ensure_ascii=False).encode()
    return found


def _parsed(path: Path) -> dict[str, Any]:
    """Return a config as MONAI keeps it while it runs, with references and macros in its own spelling."""
    parser = ConfigParser()
    parser.read_config(str(path))
    parser.parse()
    return dict(parser.get())


def adopt(config: Mapping[str, Any], changed: Mapping[str, Any], everything: bool) -> dict[str, Any]:
    """Return a config with what a run changed: everything, or what the config has and what that refers to."""
    result = copy.deepcopy(dict(config))
    wanted = [key for key in changed if everything or key in config]
    while wanted:
        key = wanted.pop()
        result[key] = changed[key]
        words = json.dumps(changed[key])
        wanted += [name for name in changed if name not in result and f"@{name}" in words]
    return result


if __name__ == "__main__":
    run_command(pack_bundle)

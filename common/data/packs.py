"""Open a packed bundle that may come from anywhere: no file leaves its folder, and no config runs foreign code."""

from __future__ import annotations

import ast
import json
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from common.data.files import read_json

LARGEST = 4 * 2**30  # bytes unpacked
ASKED = ("configs/metadata.json", "configs/inference.json", "common/__init__.py")
TARGETS = (
    "common.",
    *(f"monai.{part}." for part in ("data", "inferers", "losses", "networks", "transforms")),
    "monai.utils.set_determinism",
    "timm.optim.",
    "torch.nn.",
    "torch.optim.",
)
CALLED = {
    "monai.transforms.CopyItemsd",
    "torch.device",
    "torch.cuda.is_available",
    "os.cpu_count",
    "len",
    "max",
    "min",
    "str",
    "list",
    "round",
}
METHODS = {"run", "to", "parameters", "items", "get"}  # of objects that the config itself has built


def unpack(pack: str | os.PathLike, folder: str | os.PathLike) -> Path:
    """Unpack a bundle below a folder and return the bundle's own folder.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no packed bundle of this collection, or one that is not to be trusted; nothing is written.
    """
    if not Path(pack).is_file():
        raise FileNotFoundError(f"There is no packed bundle '{pack}'. Make one by scripts/pack_bundle.py NAME.")
    try:
        archive = zipfile.ZipFile(pack)
    except zipfile.BadZipFile as error:
        raise ValueError(f"'{pack}' is no zip file, or a damaged one.") from error
    with archive:
        name = _checked(archive, str(pack))
        for entry in archive.infolist():
            _write(archive, entry, Path(folder))
    return Path(folder) / name


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    if not entry.is_dir():
        target = folder / entry.filename
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(archive.read(entry))


def _checked(archive: zipfile.ZipFile, pack: str) -> str:
    """Return the name of the bundle's folder, after everything but the weights was looked at."""
    tops, size = set(), 0
    for entry in archive.infolist():
        place, kind = PurePosixPath(entry.filename), stat.S_IFMT(entry.external_attr >> 16)
        if place.is_absolute() or ".." in place.parts or "\\" in entry.filename or ":" in place.parts[0]:
            raise ValueError(f"'{pack}' is refused: '{entry.filename}' would be written outside its folder.")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"'{pack}' is refused: '{entry.filename}' is a link or a device.")
        tops.add(place.parts[0])
        size += entry.file_size
    if size > LARGEST:
        raise ValueError(f"'{pack}' is refused: unpacked it would take {size / 2**30:.1f} GiB.")
    names = set(archive.namelist())
    top = tops.pop() if len(tops) == 1 else ""
    missing = [name for name in ASKED if f"{top}/{name}" not in names]
    if missing:
        raise ValueError(f"'{pack}' is no packed bundle of this collection: it lacks {', '.join(missing)}.")
    for name in sorted(names):
        if name.endswith(".json") and "/configs/" in name:
            check_config(json.loads(archive.read(name)), f"{pack}: {name}")
    return top


def read_pack(folder: Path) -> dict[str, Any]:
    """Return the metadata of an unpacked bundle."""
    return read_json(folder / "configs" / "metadata.json")


def check_config(config: Any, place: str) -> None:
    """Refuse a config that builds or calls what those of this collection do not need.

    Raises:
        ValueError: and says what it is.
    """
    for key, value in _leaves(config):
        if key == "_target_" and "." in str(value) and not str(value).startswith(TARGETS):
            raise ValueError(f"{place} is no config of this collection: it builds '{value}'.")
        if isinstance(value, str) and value.startswith("$"):
            _check_expression(value[1:], place)


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, key)
    else:
        yield key, value


def _check_expression(words: str, place: str) -> None:
    refused = ValueError(f"{place} is no config of this collection: it computes '{words}'.")
    if re.fullmatch(r"import (os|torch)", words):
        return
    try:
        tree = ast.parse(re.sub(r"@[\w#]+(?:::[\w#]+)*", "_given", words), mode="eval")
    except SyntaxError as error:
        raise refused from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            method = isinstance(node.func, ast.Attribute) and node.func.attr in METHODS
            own = method and ast.unparse(node.func).startswith("_given")
            if called not in CALLED and not own:
                raise refused
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            raise refused
        if isinstance(node, ast.Name) and node.id.startswith("__"):
            raise refused

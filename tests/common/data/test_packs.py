"""A packed bundle from anywhere: nothing leaves its folder, and no config builds or computes what ours do not."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from common.data.packs import check_config, unpack

ROOT = Path(__file__).parents[3]
GOOD = {"b/configs/metadata.json": "{}", "b/configs/inference.json": "{}", "b/common/__init__.py": ""}


def pack(folder: Path, files: dict[str, str], change: Callable[[zipfile.ZipInfo], None] = lambda entry: None) -> Path:
    path = folder / "b.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            change(entry)
            archive.writestr(entry, content)
    return path


def test_a_good_one_is_unpacked(tmp_path: Path) -> None:
    root = unpack(pack(tmp_path, GOOD), tmp_path / "out")
    assert root == tmp_path / "out" / "b" and {p.name for p in root.iterdir()} == {"configs", "common"}


@pytest.mark.parametrize("name", ["../evil.txt", "b/../../evil.txt", "/etc/evil", "b\\..\\evil", "c:/evil"])
def test_a_file_outside_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="outside"):
        unpack(pack(tmp_path, {**GOOD, name: "x"}), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"b.zip"}


def test_a_link_is_refused(tmp_path: Path) -> None:
    def link(entry: zipfile.ZipInfo) -> None:
        if entry.filename.endswith("shadow"):
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16

    with pytest.raises(ValueError, match="link"):
        unpack(pack(tmp_path, {**GOOD, "b/shadow": "/etc/shadow"}, link), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_would_fill_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.data.packs.LARGEST", 10)
    with pytest.raises(ValueError, match="GiB"):
        unpack(pack(tmp_path, {**GOOD, "b/large": "x" * 11}), tmp_path / "out")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"b/readme": ""}, "lacks configs/metadata.json"),
        ({**GOOD, "c/other": ""}, "lacks"),
    ],
    ids=["no bundle", "two folders"],
)
def test_what_is_no_bundle_is_refused(tmp_path: Path, files: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        unpack(pack(tmp_path, files), tmp_path / "out")


def test_no_zip_and_no_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_text("words")
    with pytest.raises(ValueError, match="no zip"):
        unpack(tmp_path / "b.zip", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="pack_bundle"):
        unpack(tmp_path / "none.zip", tmp_path / "out")


@pytest.mark.parametrize(
    "value",
    [
        {"_target_": "os.system", "command": "ls"},
        {"_target_": "subprocess.Popen"},
        {"_target_": "monai.apps.download_url"},
        "$__import__('os').system('ls')",
        "$os.system('ls')",
        "$torch.load('x')",
        "$(lambda: 1)()",
        "$@network.__class__",
        "$open('/etc/passwd').read()",
        "$import subprocess",
        "$[x for x in ().__class__.__bases__]",
        "$@a('x')",
    ],
)
def test_a_config_with_foreign_code_is_refused(tmp_path: Path, value: object) -> None:
    files = {**GOOD, "b/configs/inference.json": json.dumps({"a": [{"b": value}]})}
    with pytest.raises(ValueError, match="no config of this collection"):
        unpack(pack(tmp_path, files), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", sorted(ROOT.glob("bundles/*/configs/**/*.json")), ids=lambda path: path.stem)
def test_our_own_configs_pass(path: Path) -> None:
    check_config(json.loads(path.read_text()), str(path))

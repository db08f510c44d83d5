from __future__ import annotations

import resource
from pathlib import Path

import pytest

from common.data.files import write_json, write_whole
from common.data.flags import flag


def test_a_failing_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(RuntimeError, match="midway"):
        write_whole(path, lambda file: (file.write(b"half"), (_ for _ in ()).throw(RuntimeError("midway"))))
    assert path.read_text() == '{\n "old": 1\n}\n'
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(("typed", "meant"), [(True, True), ("true", True), ("False", False), (False, False)])
def test_switches_may_be_typed_as_words(typed, meant: bool) -> None:
    assert flag(typed) is meant
    with pytest.raises(ValueError, match="'maybe'"):
        flag("maybe")


def test_a_full_disk_says_so_and_loses_nothing(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", {"old": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"Could not write .*a\.json.*free some space"):
            write_json(path, {"new": "x" * 5000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "old" in path.read_text()

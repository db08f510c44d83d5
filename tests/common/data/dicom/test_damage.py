"""Three hundred damaged files: each ends as an image or with a reason, soon, and in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from importlib import import_module

import pytest

READ_ALL = """
import json, logging, sys, time, warnings
from pathlib import Path
from common.data.mammogram import read_mammogram
warnings.simplefilter("ignore"); logging.disable(logging.CRITICAL)
peak = lambda: int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024  # MiB
before, found = peak(), {}
for path in sorted(Path(sys.argv[1]).glob("*.dcm")):
    begin = time.perf_counter()
    try:
        image, _ = read_mammogram(path)
        result = f"image {image.shape} {bool((image >= 0).all() and (image <= 1).all())}"
    except ValueError as error:
        result = f"reason {error}"
    found[path.stem] = (result, time.perf_counter() - begin)
Path(sys.argv[2]).write_text(json.dumps({"files": found, "grown": peak() - before}))
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("damaged")
    for number, (kind, content) in enumerate(import_module("damage").damaged()):
        (folder / f"{kind}-{number:03}.dcm").write_bytes(content)
    command = [sys.executable, "-c", READ_ALL, str(folder), str(folder / "found.json")]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return json.loads((folder / "found.json").read_text())


def test_no_damaged_file_crashes_hangs_or_eats_memory(outcome: dict) -> None:
    assert len(outcome["files"]) == 300 and outcome["grown"] < 300
    assert max(seconds for _, seconds in outcome["files"].values()) < 5


def test_each_is_an_image_or_has_a_reason_that_names_it(outcome: dict) -> None:
    for name, (result, _) in outcome["files"].items():
        if result.startswith("reason"):
            assert f"{name}.dcm cannot be read: " in result and len(result.split("cannot be read: ")[1]) > 20
        else:
            assert result.endswith("True")


def test_truncation_and_impossible_sizes_always_have_a_reason(outcome: dict) -> None:
    kinds = Counter((name.split("-")[0], result.split()[0]) for name, (result, _) in outcome["files"].items())
    assert kinds["truncated", "reason"] == 95 and not kinds["truncated", "image"]
    assert kinds["nested", "reason"] == kinds["tiny", "reason"] == 5
    assert kinds["size", "reason"] >= 24

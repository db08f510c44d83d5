from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.data.folder import readable_images
from common.reports.errors import run_command
from common.reports.figures import TRUE_COLOUR, overlay, roc_curves, save_figure


def test_an_overlay_keeps_the_picture_inside_and_outside_the_outline() -> None:
    image, truth = np.full((50, 60), 0.5), np.zeros((50, 60), bool)
    truth[10:20, 30:50] = True
    picture = overlay(image, np.zeros_like(truth), truth)
    assert (picture[10, 35] == TRUE_COLOUR).all()
    assert (picture[15, 40] == 0.5).all() and (picture[0, 0] == 0.5).all()


def test_figures_survive_a_class_that_is_missing(tmp_path: Path) -> None:
    table = pd.DataFrame({"label": ["a", "a", "b"], "p_a": [0.9, 0.8, 0.1], "p_b": [0.1, 0.2, 0.9], "p_c": [0.0] * 3})
    assert save_figure(roc_curves(table, ["a", "b", "c"]), tmp_path / "roc.png").stat().st_size > 1000


def test_our_refusals_end_in_one_message_and_faults_keep_their_traceback() -> None:
    setup = "from common.reports.errors import show_plainly; show_plainly(); "
    refusal = setup + "from common.data.datalist import load_datalist; load_datalist('nowhere')"
    fault = setup + "1 / 0"
    words = ([sys.executable, "-c", code] for code in (refusal, fault))
    first, second = (subprocess.run(word, capture_output=True, text=True, check=False) for word in words)
    assert first.stderr.startswith("error: No datalist.json in 'nowhere'") and "Traceback" not in first.stderr
    assert "ZeroDivisionError" in second.stderr and "Traceback" in second.stderr
    assert first.returncode == second.returncode == 1


def test_switches_of_a_command_may_be_written_small(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    for words in (["--paired", "false"], ["--paired=true"], ["false_masks"]):
        monkeypatch.setattr(sys, "argv", ["command", *words])
        run_command(lambda paired: given.append(paired))
    assert given == [False, True, "false_masks"]


def test_names_of_pictures_in_a_folder_are_unique(phantoms: Path, tmp_path: Path) -> None:
    source = next(phantoms.glob("benign/benign (1).png")).read_bytes()
    for name in ("a.png", "a.jpg", "deeper/a.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(source)
    items = readable_images(tmp_path / "in", tmp_path / "out")
    assert [item["name"] for item in items] == ["a_jpg", "a_png", "deeper/a"]
    assert [item["file"] for item in items] == ["a.jpg", "a.png", "deeper/a.png"]

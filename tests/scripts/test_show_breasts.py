from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from common.data.mammogram import write_mammogram
from common.data.mammogram_phantoms import Breast, draw_mammogram


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two views of two breasts, a blank and a damaged file."""
    for seed, (side, view) in enumerate([("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO")]):
        drawn = draw_mammogram(Breast(side, "A", 0.6, None), view, (416, 320), np.random.default_rng(seed))
        name = f"{'LEFT' if side == 'L' else 'RIGHT'}_{view}.tif"
        write_mammogram(tmp_path / "in" / f"case_{seed % 2}" / name, drawn.picture)
    Image.new("L", (50, 80)).save(tmp_path / "in" / "blank.png")
    (tmp_path / "in" / "broken.dcm").write_bytes(b"nothing" * 50)
    return tmp_path / "in"


def test_pages_and_table_are_written_and_a_bad_file_is_set_aside(script, folder: Path, tmp_path: Path, capsys) -> None:
    script("show_breasts").show_breasts(str(folder), str(tmp_path / "out"), per_page=3)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"page_1.png", "page_2.png", "breasts.csv", "rejected.csv"}
    table = pd.read_csv(tmp_path / "out" / "breasts.csv").set_index("image")
    assert len(table) == 5 and table.loc["blank.png", "quality_flags"] == "not_a_mammogram;no_breast"
    assert list(table.loc[table.index.str.contains("CC"), "pectoral"].unique()) == ["the view is CC, not MLO"]
    mlo = table[table["view"] == "MLO"]
    assert list(mlo["pectoral"]) == ["found"] * 2 and set(mlo["chest_wall"]) == {"left", "right"}
    assert list(pd.read_csv(tmp_path / "out" / "rejected.csv")["image"]) == ["broken.dcm"]
    assert "found on 2 of 2 MLO views" in capsys.readouterr().out


def test_a_folder_without_mammograms_is_an_error(script, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        script("show_breasts").show_breasts(str(tmp_path / "nowhere"), str(tmp_path / "out"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="No mammogram"):
        script("show_breasts").show_breasts(str(tmp_path / "empty"), str(tmp_path / "out"))

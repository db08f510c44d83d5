"""CBIS-DDSM's official splits: each clean, joined they leak, reconciled they do not."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from common.data.cbis import FILES, on_both_sides, read_cases, reconcile


def case(patient: str, side: str = "LEFT", view: str = "CC", pathology: str = "BENIGN", number: int = 1) -> dict:
    paths = {f"{name} file path": f"{patient}_{side}_{view}/1.dcm\n" for name in ("image", "cropped image", "ROI mask")}
    facts = {"patient_id": patient, "left or right breast": side, "image view": view, "abnormality id": number}
    return {**facts, "abnormality type": "x", "pathology": pathology, **paths}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """P3 stands in calc training and mass test (another view), P4 with the same image; the others on one side."""
    rows = {
        ("mass", "train"): [case("P1", pathology="MALIGNANT"), case("P1", view="MLO"), case("P4")],
        ("mass", "test"): [case("P2"), case("P3", pathology="BENIGN_WITHOUT_CALLBACK")],
        ("calc", "train"): [case("P3", view="MLO"), case("P1", "RIGHT")],
        ("calc", "test"): [case("P5"), case("P4", number=2)],
    }
    for key, name in FILES.items():
        pd.DataFrame(rows[key]).to_csv(tmp_path / name, index=False)
    return tmp_path


def test_four_files_become_one_table(folder: Path) -> None:
    cases = read_cases(folder)
    assert len(cases) == 9 and set(cases["kind"]) == {"mass", "calc"} and set(cases["laterality"]) == {"L", "R"}
    assert list(cases["malignant"]).count(True) == 1
    assert not cases["mask_path"].str.contains("\n").any()


def test_patients_and_images_on_both_sides_are_found(folder: Path) -> None:
    cases = read_cases(folder)
    patients = on_both_sides(cases, ["patient_id"]).set_index("patient_id")["where"].to_dict()
    assert patients == {"P3": "calc train, mass test", "P4": "calc test, mass train"}
    assert list(on_both_sides(cases)["patient_id"]) == ["P4"]


def test_they_move_whole_to_training_and_nobody_else_moves(folder: Path) -> None:
    clean = reconcile(read_cases(folder))
    assert (clean.groupby("patient_id")["split"].nunique() == 1).all()
    assert set(clean["patient_id"][clean["split"] == "test"]) == {"P2", "P5"}
    assert set(clean["patient_id"][clean["moved"]]) == {"P3", "P4"} and clean["moved"].sum() == 2


def test_missing_files_columns_and_strange_pathologies_are_named(folder: Path) -> None:
    name = FILES["mass", "test"]
    pd.DataFrame([case("P2", pathology="UNSURE")]).to_csv(folder / name, index=False)
    with pytest.raises(ValueError, match="UNSURE"):
        read_cases(folder)
    pd.DataFrame([case("P2")]).drop(columns="pathology").to_csv(folder / name, index=False)
    with pytest.raises(ValueError, match=r"lacks the columns \['pathology'\]"):
        read_cases(folder)
    (folder / name).write_text("")
    with pytest.raises(ValueError, match="is empty"):
        read_cases(folder)
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        read_cases(folder)


def test_the_official_files_share_31_patients_and_29_images(real_data: Path) -> None:
    cases = read_cases(real_data / "cbis" / "csv")
    assert len(cases) == 3568 and cases["patient_id"].nunique() == 1566
    assert len(on_both_sides(cases, ["patient_id"])) == 31 and len(on_both_sides(cases)) == 29
    clean = reconcile(cases)
    parts = {part: set(rows["patient_id"]) for part, rows in clean.groupby("split")}
    assert not parts["train"] & parts["test"] and len(parts["train"] | parts["test"]) == 1566

"""Predictions from anywhere: scored, drawn, compared, or refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score


def predictions(seed: int = 0, patients: int = 60, skill: float = 1.5) -> pd.DataFrame:
    """Two breasts of two views a patient."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        [(p, side, view) for p in range(patients) for side in "LR" for view in ("CC", "MLO")],
        columns=["patient_id", "laterality", "view"],
    )
    truth = np.repeat(np.random.default_rng(9).random(2 * patients) < 0.3, 2)
    logit = rng.normal(skill * truth - 1, 1)
    facts = {"positive": truth.astype(int), "probability": 1 / (1 + np.exp(-logit))}
    ages = np.repeat(np.random.default_rng(8).integers(40, 80, patients), 4)
    return table.assign(image=[f"i{n}" for n in range(len(table))], age=ages, **facts)


def run(script, table: pd.DataFrame, folder: Path, **options) -> dict:
    folder.mkdir(exist_ok=True)
    table.to_csv(folder / "predictions.csv", index=False)
    script("report").report(str(folder / "predictions.csv"), **{"resamples": 200, **options})
    return json.loads((folder / "report" / "metrics.json").read_text())


def test_images_breasts_and_patients_are_scored_and_drawn(script, tmp_path: Path, capsys) -> None:
    table = predictions()
    found = run(script, table, tmp_path, threshold=0.4)
    assert found["group_by"] == "patient_id" and found["threshold"] == 0.4
    assert [found[level]["roc_auc"]["n"] for level in ("image", "breast", "patient")] == [240, 120, 60]
    auc = found["image"]["roc_auc"]
    assert auc["value"] == pytest.approx(roc_auc_score(table["positive"], table["probability"]))
    assert auc["low"] < auc["value"] < auc["high"] and auc["groups"] == 60
    joined = table.groupby(["patient_id", "laterality"])[["probability", "positive"]].mean()
    assert found["breast"]["roc_auc"]["value"] == pytest.approx(
        roc_auc_score(joined["positive"], joined["probability"])
    )
    assert set(found["subgroups"]["view"]) == {"CC", "MLO"} and "[50, 60)" in found["subgroups"]["age"]
    figures = {path.stem for path in (tmp_path / "report" / "figures").iterdir()}
    assert figures == {"roc", "precision_recall", "reliability", "confusion", "histograms", "subgroups"}
    text = (tmp_path / "report" / "report.md").read_text()
    assert "## breast" in text and "figures/roc.png" in text and "bootstrap over patient_id" in text
    assert "roc auc" in capsys.readouterr().out


def test_two_models_are_compared_on_the_same_rows(script, tmp_path: Path) -> None:
    other = predictions(seed=1, skill=0.5)
    (tmp_path / "other").mkdir()
    path = tmp_path / "other" / "predictions.csv"
    other.sample(frac=1, random_state=0).to_csv(path, index=False)
    found = run(script, predictions(), tmp_path, compare=str(path))
    apart = [roc_auc_score(t["positive"], t["probability"]) for t in (predictions(), other)]
    assert found["difference"]["roc_auc"]["value"] == pytest.approx(apart[0] - apart[1])
    assert found["difference"]["roc_auc"]["low"] > 0
    other.iloc[1:].to_csv(path, index=False)
    with pytest.raises(ValueError, match="1 rows are in one only, such as i0"):
        run(script, predictions(), tmp_path, compare=str(path))


def spoil(**columns):
    def change(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(**{name: table[name].astype(object) for name in columns}).pipe(_first, columns)

    return change


def _first(table: pd.DataFrame, columns: dict) -> pd.DataFrame:
    for name, value in columns.items():
        table.loc[0, name] = value
    return table


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (spoil(probability=1.2), r"1 of 240 rows .* outside 0 to 1, such as i0"),
        (spoil(probability=np.nan), "no number for 'probability'"),
        (spoil(positive=""), "neither true nor false"),
        (spoil(image="i1"), r"2 of 240 rows .* share their 'image'"),
        (spoil(patient_id=""), "1 of 240 rows have no 'patient_id'"),
        (lambda t: t.iloc[:0], "no rows"),
        (lambda t: t.drop(columns="probability"), r"columns \['probability'\] are missing"),
    ],
    ids=["1.2", "NaN", "no label", "twice", "no patient", "empty", "no column"],
)
def test_wrong_tables_are_refused_with_count_and_example(script, tmp_path: Path, change, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        run(script, change(predictions()), tmp_path)
    assert not (tmp_path / "report").exists()


def test_an_empty_or_missing_file_and_an_unknown_task_are_refused(script, tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    with pytest.raises(ValueError, match=r"a\.csv is empty"):
        script("report").report(str(tmp_path / "a.csv"))
    with pytest.raises(FileNotFoundError, match="no table of predictions"):
        script("report").report(str(tmp_path / "b.csv"))
    with pytest.raises(ValueError, match="choose binary, classes, segmentation or detection"):
        run(script, predictions(), tmp_path, task="regression")


def test_one_class_gives_nulls_with_a_warning(script, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="undefined"):
        found = run(script, predictions().assign(positive=0), tmp_path)
    assert found["image"]["roc_auc"]["value"] is None and found["image"]["specificity"]["value"] is not None


def test_tables_of_the_bundles_are_scored_as_they_are(script, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1], 40)
    names = np.array(["benign", "malignant", "normal"])
    table = pd.DataFrame(p, columns=[f"p_{name}" for name in names])
    table = table.assign(image=[f"i{n}" for n in range(40)], group_id=np.arange(40) // 2, label=rng.choice(names, 40))
    found = run(script, table.assign(predicted=names[p.argmax(1)]), tmp_path, task="classes")
    assert found["image"]["accuracy"]["groups"] == 20
    assert (tmp_path / "report" / "figures" / "confusion.png").is_file()


def test_every_kind_of_subgroup_is_shown_with_its_n(script, tmp_path: Path) -> None:
    table = predictions()
    rng = np.random.default_rng(3)
    columns = {"site_id": (1, 2), "machine_id": (21, 49, 170), "density": tuple("ABCD"), "implant": (0, 1)}
    patients = {name: rng.choice(values, 60) for name, values in columns.items()}
    table = table.assign(**{name: np.repeat(values, 4) for name, values in patients.items()})
    found = run(script, table, tmp_path)["subgroups"]
    assert set(found) == {*columns, "view", "age", "laterality"}
    for name in columns:
        for value, scores in found[name].items():
            part = table[table[name].astype(str) == value]
            assert scores["n"] == len(part) and scores["groups"] == part["patient_id"].nunique()
            assert scores["value"] == pytest.approx(roc_auc_score(part["positive"], part["probability"]))


def test_thresholds_and_calibration_nested_over_folds(script, tmp_path: Path) -> None:
    table = predictions().assign(fold=lambda t: t["patient_id"] % 3)
    found = run(script, table, tmp_path, nested="best_f1", calibration="isotonic")
    plain = run(script, table, tmp_path / "plain")
    assert found["image"]["expected_calibration_error"]["value"] < plain["image"]["expected_calibration_error"]["value"]
    with pytest.raises(ValueError, match="one of --threshold"):
        run(script, table, tmp_path, nested="best_f1", threshold=0.3)
    with pytest.raises(ValueError, match="needs a column 'fold'"):
        run(script, predictions(), tmp_path, nested="best_f1")


def test_masks_are_scored_from_their_areas(script, tmp_path: Path) -> None:
    areas = {"true_px": [10, 10, 0, 0], "predicted_px": [10, 0, 5, 0], "overlap_px": [5, 0, 0, 0]}
    table = pd.DataFrame({"image": list("abcd"), **areas})
    found = run(script, table, tmp_path, task="segmentation")["image"]
    assert found["dice"]["value"] == pytest.approx(0.25) and found["false_masks"]["value"] == 0.5
    assert (tmp_path / "report" / "figures" / "dice.png").is_file()
    with pytest.raises(ValueError, match="lacks the columns"):
        run(script, table.drop(columns="true_px"), tmp_path, task="segmentation")


def test_boxes_are_scored_against_lesions(script, tmp_path: Path) -> None:
    lesions = pd.DataFrame({"image": ["a", "b", "c"], "patient_id": ["1", "1", "2"]})
    lesions = lesions.assign(x1=[0, 20, None], y1=[0, 20, None], x2=[9, 40, None], y2=[9, 40, None])
    lesions.to_csv(tmp_path / "lesions.csv", index=False)
    boxes = {"x1": [0, 50], "y1": [0, 50], "x2": [9, 60], "y2": [9, 60]}
    table = pd.DataFrame({"image": ["a", "c"], **boxes, "score": [0.9, 0.5]})
    found = run(script, table, tmp_path, task="detection", lesions=str(tmp_path / "lesions.csv"))
    assert found["image"]["sensitivity_at_0.5"]["value"] == 0.5 and found["group_by"] == "patient_id"
    assert found["box_average_precision"]["ap50"] == pytest.approx(51 / 101)
    assert (tmp_path / "report" / "figures" / "froc.png").is_file()
    with pytest.raises(ValueError, match="--lesions"):
        run(script, table, tmp_path, task="detection")


def test_a_threshold_of_0_calls_everything_and_a_prevalence_needs_a_point(script, tmp_path: Path) -> None:
    found = run(script, predictions(), tmp_path, threshold=0)
    assert found["threshold"] == 0 and found["image"]["recall_rate"]["value"] == 1
    with pytest.raises(ValueError, match="says at which prevalence"):
        run(script, predictions(), tmp_path, threshold=0.3, prevalence=0.01)


def test_images_named_by_numbers_are_matched(script, tmp_path: Path) -> None:
    """A table of numbers alone is read as numbers, one with words among them as words."""
    box = {"x1": [0, 0], "y1": [0, 0], "x2": [9, 9], "y2": [9, 9]}
    pd.DataFrame({"image": ["7", "b"], "patient_id": ["1", "2"], **box}).to_csv(tmp_path / "lesions.csv", index=False)
    table = pd.DataFrame({"image": [7], **{key: values[:1] for key, values in box.items()}, "score": [0.9]})
    found = run(script, table, tmp_path, task="detection", lesions=str(tmp_path / "lesions.csv"))
    assert found["image"]["sensitivity_at_1"]["value"] == 0.5

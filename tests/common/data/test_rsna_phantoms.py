"""The mammogram phantoms' difficulty is bounded, and they are read back as they were drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_laplace
from scipy.stats import kurtosis, skew
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from common.data.dicom.write import write_dicom
from common.data.mammogram import read_mammogram
from common.data.mammogram_phantoms import Breast, draw_mammogram
from common.data.rsna_phantoms import COLUMNS, MACHINES, OUTCOMES, draw_patient, draw_studies

PATIENTS = 100


@pytest.fixture(scope="module", params=[((364, 280), 1.0), ((192, 148), 3.0)], ids=["plain", "enlarged"])
def images(request: pytest.FixtureRequest) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Half the images with cancer: the pictures themselves, whatever machine would write them."""
    (shape, scale), rows, pictures = request.param, [], []
    for number in range(PATIENTS):
        rng = np.random.default_rng([5, number])
        for row, breast in zip(*draw_patient(number, 0.5, rng), strict=True):
            rows.append(row)
            pictures.append(draw_mammogram(replace(breast, scale=scale), row["view"], shape, rng).picture)
    return pd.DataFrame(rows), pictures


def auc(model, features: np.ndarray, table: pd.DataFrame) -> float:
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    truth, groups = table["cancer"].to_numpy(), table["patient_id"].to_numpy()
    found = cross_val_predict(model, features, truth, groups=groups, cv=folds, method="predict_proba")
    return float(roc_auc_score(truth, found[:, 1]))


def statistics(picture: np.ndarray) -> list[float]:
    values = picture.ravel()
    return [
        values.mean(),
        values.std(),
        skew(values),
        kurtosis(values),
        *np.percentile(values, [5, 25, 50, 75, 95, 99, 99.9]),
    ]


def test_global_statistics_do_not_give_cancer_away(images) -> None:
    table, pictures = images
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    assert auc(model, np.array([statistics(p) for p in pictures]), table) <= 0.65


def test_columns_other_than_outcomes_do_not_give_cancer_away() -> None:
    rows = [row for n in range(1500) for row in draw_patient(n, 0.1, np.random.default_rng([6, n]))[0]]
    table = pd.DataFrame(rows)
    known = table.drop(columns=[*OUTCOMES, "patient_id", "image_id"])
    features = pd.get_dummies(known, columns=["laterality", "view", "density", "machine_id"]).to_numpy(float)
    assert auc(GradientBoostingClassifier(random_state=0), features, table) <= 0.65


def test_a_blob_detector_does_not_find_cancer(images) -> None:
    table, pictures = images
    scales = (1.5, 3, 6, 9, 12)
    blobs = np.array(
        [[np.sort((-(s**2) * gaussian_laplace(p, s)).ravel())[[-1, -200]] for s in scales] for p in pictures]
    )
    features = blobs.reshape(len(pictures), -1)
    for column in features.T:
        assert roc_auc_score(table["cancer"], column) <= 0.65
    assert auc(make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)), features, table) <= 0.65


def test_columns_and_rates_are_those_of_the_set() -> None:
    rows = [row for n in range(1500) for row in draw_patient(n, 0.02, np.random.default_rng([7, n]))[0]]
    table = pd.DataFrame(rows)
    assert set(table.columns) == set(COLUMNS)
    assert 0.01 < table["cancer"].mean() < 0.03
    sick = table[table["cancer"] == 1]
    assert (sick["biopsy"] == 1).all() and sick.groupby("patient_id")["laterality"].nunique().max() == 1
    assert (table.groupby(["patient_id", "laterality"])["cancer"].nunique() == 1).all()
    assert table["age"][table["cancer"] == 1].mean() > table["age"][table["cancer"] == 0].mean()
    assert (table.loc[table["site_id"] == 2, "BIRADS"] == "").all()


def test_every_machine_is_read_back_as_drawn(tmp_path: Path) -> None:
    seen = set()
    for row, dataset in draw_studies(14, 0.1, (104, 80), seed=3):
        image, facts = read_mammogram(write_dicom(tmp_path / "a.dcm", dataset))
        machine = MACHINES[row["machine_id"]]
        seen.add(row["machine_id"])
        assert (facts["laterality"], facts["view"]) == (row["laterality"], row["view"])
        wall = slice(0, 8) if row["laterality"] == "L" else slice(-8, None)
        far = slice(-12, -6) if row["laterality"] == "L" else slice(6, 12)
        assert image[40:70, wall].mean() > image[40:70, far].mean() + 0.1, machine  # tissue bright, at the chest wall
    assert seen == set(MACHINES)


@pytest.mark.parametrize("cancer", ["mass", "calcifications"])
def test_a_scale_enlarges_the_findings(cancer: str) -> None:
    one, two = (
        draw_mammogram(Breast("L", "B", 0.5, cancer, scale=scale), "CC", (208, 160), np.random.default_rng(0)).lesion
        for scale in (1.0, 2.0)
    )
    assert 3 < two.sum() / one.sum() < 5


def test_the_malignant_finding_has_a_mask() -> None:
    for cancer in (None, "mass", "calcifications"):
        drawn = draw_mammogram(Breast("L", "B", 0.5, cancer), "MLO", (208, 160), np.random.default_rng(0))
        assert drawn.lesion.any() == (cancer is not None)
        assert drawn.pectoral.any() and drawn.breast[drawn.pectoral].all()

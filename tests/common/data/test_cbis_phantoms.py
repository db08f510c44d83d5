"""The phantoms of CBIS-DDSM: what a glance at a patch, or its size, tells of malignancy is bounded."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from common.data.mammogram_phantoms import Breast, draw_mammogram
from common.data.patches import cut, large_context

SIZE = 48


def glance(patch: np.ndarray) -> list[float]:
    return [patch.mean(), patch.std(), *np.percentile(patch, [1, 25, 50, 75, 99])]


def drawn(kind: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what a glance and the outline's size say of large context patches, and which are malignant."""
    rng, facts, truth = np.random.default_rng(5), [], []
    for _ in range(number):
        malignant = bool(rng.random() < 0.5)
        breast = Breast("L", "B", float(rng.uniform()), None, findings=((kind, malignant),))
        found = draw_mammogram(breast, "CC", (192, 148), rng)
        (mask,) = found.findings
        place = large_context(mask, SIZE)
        facts.append([*glance(cut(found.picture, place, SIZE)), float(mask.sum()), float(place[2] - place[0])])
        truth.append(malignant)
    return np.array(facts), np.array(truth)


@pytest.mark.parametrize("kind", ["mass", "calcifications"])
def test_neither_a_glance_nor_the_size_tells_malignancy(kind: str) -> None:
    facts, truth = drawn(kind, 300)
    model = GradientBoostingClassifier(n_estimators=50, random_state=0)
    found = cross_val_predict(model, facts, truth, cv=5, method="predict_proba")[:, 1]
    assert roc_auc_score(truth, found) <= 0.65
    for column in facts.T[-2:]:
        assert max(roc_auc_score(truth, column), roc_auc_score(truth, -column)) <= 0.6

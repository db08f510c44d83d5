"""A planted shortcut is found, and where there is none the interval holds .5."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.metrics.shortcuts import baseline, chance, metadata_features, shuffled, size_features, statistics_features


def items(n: int = 240) -> list[dict]:
    rng = np.random.default_rng(0)
    group = np.arange(n) // 2
    label = np.where(rng.random(n // 2) < 0.4, "malignant", "benign")[group]
    facts = {"patient_id": [f"p{g}" for g in group], "label": label, "fold": group % 5}
    facts |= {"age": rng.integers(40, 80, n), "site_id": np.where(label == "malignant", "a", rng.choice(["a", "b"], n))}
    facts |= {"image": [f"{k}.png" for k in range(n)], "biopsy": (label == "malignant").astype(int)}
    return pd.DataFrame(facts).to_dict("records")


def labels() -> np.ndarray:
    return np.array([item["label"] for item in items()])


def test_a_site_that_gives_the_class_away_is_found_and_outcomes_are_no_metadata() -> None:
    features = metadata_features(items())
    assert set(features) == {"age", "site_id"}
    found = baseline(features, items(), labels())
    assert found.low > 0.6 and found.groups == 120
    age = baseline(features[["age"]], items(), labels())
    assert age.low <= 0.5 <= age.high


def test_shuffled_labels_cannot_be_told_and_patients_stay_whole() -> None:
    dealt = shuffled(items(), labels(), seed=1)
    assert sorted(dealt) == sorted(labels()) and (dealt != labels()).mean() > 0.3
    assert (dealt[::2] == dealt[1::2]).all()
    found = chance(metadata_features(items()), items(), labels())
    assert found.low <= 0.5 <= found.high and abs(found.value - 0.5) < 0.04


def test_sizes_and_statistics_by_hand() -> None:
    assert size_features((40, 20)) == {"rows": 40, "columns": 20, "aspect": 2.0, "pixels": 800}
    found = statistics_features(np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert found["mean"] == 0.5 and found["deviation"] == 0.5 and found["p50"] == 0.5
    assert np.isfinite(list(statistics_features(np.full((5, 5), 0.3)).values())).all()


def test_the_script_reports_every_baseline(script, prepared: Path, tmp_path: Path, capsys) -> None:
    script("check_shortcuts").check_shortcuts(str(prepared), output_dir=str(tmp_path))
    out = capsys.readouterr().out
    assert "global statistics" in out and "shuffled labels" in out and "do not hold .5" in out
    table = pd.read_csv(tmp_path / "shortcuts.csv").set_index("metric")
    assert table.loc["shuffled_labels", "low"] <= 0.5 <= table.loc["shuffled_labels", "high"]
    assert table.loc["global_statistics", "n"] == pytest.approx(48, abs=4)

"""Put the out-of-fold predictions of a cross-validation together: one table, thresholds nested, scores and figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

import pandas as pd

from common.data.files import read_json, write_csv, write_json
from common.metrics.aggregation import LEVELS
from common.metrics.bootstrap import Estimate
from common.metrics.folds import nested_operating_points
from common.metrics.tables import choose_operating_point, has_classes, has_masks, metrics_table, score
from common.metrics.two_class import PROBABILITY
from common.metrics.two_class_points import choose_point, nested_points
from common.reports import figures
from common.reports.tasks import binary

Scores = dict[str, Estimate]


def read_folds(folder: Path, folds: Sequence[int], name: str) -> pd.DataFrame | None:
    """Return one table of all folds' ``fold_<n>/out_of_fold/<name>``; None unless each has it."""
    files = [folder / f"fold_{fold}" / "out_of_fold" / name for fold in folds]
    return pd.concat([pd.read_csv(file) for file in files]) if all(file.is_file() for file in files) else None


def summarise(folder: Path, folds: Sequence[int], classes: Sequence[str]) -> Scores:
    """Write ``predictions.csv``, ``metrics.csv``, the operating points and figures of all folds; return the scores."""
    predictions = read_folds(folder, folds, "predictions.csv")
    assert predictions is not None
    two_class = PROBABILITY in predictions
    scores = _two_class(folder, folds, predictions) if two_class else _classes(folder, folds, predictions, classes)
    write_csv(folder / "metrics.csv", metrics_table(scores))
    _write_masks(folder, folds)
    return scores


def _two_class(folder: Path, folds: Sequence[int], predictions: pd.DataFrame) -> Scores:
    """Nest calibration and threshold as the first fold's training wished for its own operating point."""
    own = read_json(folder / f"fold_{folds[0]}" / "models" / "model_last.json")
    wishes = {key: own[key] for key in ("level", "rule", "wish")}
    wishes["calibration"] = (own["calibration"] or {}).get("kind")
    table, points = nested_points(predictions, **wishes)
    write_json(folder / "operating_points.json", points)
    write_json(folder / "operating_point.json", choose_point(predictions, **wishes))
    write_csv(folder / "predictions.csv", table)
    content, pictures = binary(table, "patient_id" if "patient_id" in table else "image", wishes["rule"], 2000)
    for name, picture in pictures.items():
        figures.save_figure(picture, folder / "figures" / f"{name}.png")
    named = {level: content[level] for level in LEVELS if level in content}
    return {f"{level}_{name}": found for level, scores in named.items() for name, found in scores.items()}


def _classes(folder: Path, folds: Sequence[int], predictions: pd.DataFrame, classes: Sequence[str]) -> Scores:
    areas = read_folds(folder, folds, "mask_areas.csv")
    table, points = nested_operating_points(predictions, areas, classes)
    write_json(folder / "operating_points.json", points)
    write_json(folder / "operating_point.json", choose_operating_point(table, areas, classes))
    write_csv(folder / "predictions.csv", table)
    if areas is not None:
        write_csv(folder / "mask_areas.csv", areas)
    if has_classes(table):
        figures.save_figure(figures.roc_curves(table, classes), folder / "figures" / "roc_curves.png")
        figures.save_figure(figures.confusion(table, classes), folder / "figures" / "confusion.png")
    if has_masks(table) and areas is not None:
        curve = figures.threshold_curve(areas, median(point["mask_threshold"] for point in points.values()))
        figures.save_figure(curve, folder / "figures" / "threshold_curve.png")
    return score(table, classes)


def _write_masks(folder: Path, folds: Sequence[int]) -> None:
    """Write one table of masks of images that the predicting network had not seen: out of fold, and the test set
    by the first fold."""
    out_of_fold = read_folds(folder, folds, "masks.csv")
    test = folder / f"fold_{folds[0]}" / "test" / "masks.csv"
    if out_of_fold is not None and test.is_file():
        write_csv(folder / "masks.csv", pd.concat([out_of_fold, pd.read_csv(test)]))

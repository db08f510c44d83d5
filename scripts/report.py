"""Score predictions from anywhere: metrics with intervals, a table for people, and figures."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from common.data.datalist import GROUP_KEYS
from common.data.files import read_json, write_json, write_whole
from common.metrics import two_class
from common.metrics.bootstrap import Estimate
from common.metrics.tables import readable
from common.reports import figures, tasks
from common.reports.errors import run_command

logger = logging.getLogger(__name__)


def report(
    predictions: str,
    task: str = "binary",
    output_dir: str | None = None,
    probability: str = "probability",
    truth: str = "positive",
    identity: str = "image",
    group_by: str | None = None,
    threshold: float | None = None,
    operating_point: str | None = None,
    nested: str | None = None,
    calibration: str | None = "temperature",
    prevalence: float | None = None,
    rule: str = "mean",
    lesions: str | None = None,
    compare: str | None = None,
    resamples: int = 2000,
) -> None:
    """Write metrics.json, report.md and figures/ for a table of predictions.

    Args:
        predictions: a CSV file with a row per image; for detection with a row per box.
        task: "binary" (one probability, one truth), "classes" (label and p_<class>, with or without masks, as the
            bundles write them), "segmentation" (true_px, predicted_px and overlap_px of each image) or "detection"
            (image, x1, y1, x2, y2, score).
        output_dir: where they go; a folder report/ beside the table by default.
        probability: the column of the positive class's probability (binary).
        truth: the column of the truth: 1 and 0, true and false, malignant and benign, … (binary).
        identity: the column that names a row.
        group_by: what intervals are resampled over; patient_id or group_id where the table has one.
        threshold: from which a probability is a call (binary); choose it on other data. Default .5.
        operating_point: a JSON file with "threshold" (and "calibration") instead.
        nested: with a column 'fold': give each fold the calibration and threshold that the others choose: best_f1,
            sensitivity=.9, specificity=.9 or recall_rate=.1 (binary).
        calibration: temperature, platt, isotonic or none, for --nested.
        prevalence: carry the probabilities of an operating point from its prevalence to this one.
        rule: how images become breasts and patients: mean, max or noisy_or.
        lesions: for detection, a table with a row per lesion (image, x1, y1, x2, y2, and what is grouped by); images
            without one stand there with empty coordinates.
        compare: another table of the same rows: differences, paired (binary).
        resamples: of the bootstrap.

    Raises:
        FileNotFoundError: a table is missing.
        ValueError: an unknown task, or a table that cannot be scored; the message says why.
    """
    target = Path(output_dir) if output_dir else Path(predictions).parent / "report"
    table = _read(predictions)
    if task == "detection":
        if lesions is None:
            raise ValueError("Detections are scored against lesions: give --lesions LESIONS.csv.")
        known = _read(lesions)
        group = _group(known, group_by, identity)
        content, pictures = tasks.detection(table, known, group, resamples)
    elif task in ("classes", "segmentation"):
        group = _group(table, group_by, identity)
        content, pictures = getattr(tasks, task)(table, group, resamples)
    elif task == "binary":
        group = _group(table, group_by, identity)
        point = read_json(Path(operating_point)) if operating_point else None
        ways, columns = (threshold, point, nested, calibration, prevalence), (probability, truth, identity)
        table = tasks.decided(two_class.checked_table(table, *columns, predictions), *ways)
        content, pictures = tasks.binary(table, group, rule, resamples)
        if compare is not None:
            other = tasks.decided(two_class.checked_table(_read(compare), *columns, compare), *ways)
            content["difference"] = two_class.compare(table, other, identity, group, resamples)
    else:
        raise ValueError(f"Unknown task '{task}': choose binary, classes, segmentation or detection.")
    _write(target, {"table": predictions, "group_by": group, **content}, pictures)


def _read(path: str) -> pd.DataFrame:
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no table of predictions at '{path}'.")
    try:
        return pd.read_csv(path, dtype=dict.fromkeys(GROUP_KEYS, str))
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"{path} is empty (expected a CSV table with a row per image).") from error


def _group(table: pd.DataFrame, group_by: str | None, identity: str) -> str:
    if group_by is not None and group_by not in table:
        raise ValueError(f"There is no column '{group_by}' to group by; there are {list(table.columns)}.")
    found = group_by or next((key for key in GROUP_KEYS if key in table), identity)
    if found in table and table[found].isna().any():
        raise ValueError(f"{table[found].isna().sum()} of {len(table)} rows have no '{found}' to be grouped by.")
    if found == identity:
        logger.warning(
            f"No {' or '.join(GROUP_KEYS)}: every row counts as independent, so intervals may be too narrow."
        )
    return found


def _write(target: Path, content: dict[str, Any], pictures: Mapping[str, Any]) -> None:
    tables = {name: part for name, part in content.items() if _is_scores(part)}
    tables |= {f"AUC by {column}": part for column, part in content.get("subgroups", {}).items()}
    plain: dict[str, Any] = {
        name: two_class.as_json(part) if _is_scores(part) else part for name, part in content.items()
    }
    if "subgroups" in plain:
        plain["subgroups"] = {name: two_class.as_json(part) for name, part in plain["subgroups"].items()}
    write_json(target / "metrics.json", plain)
    for name, picture in pictures.items():
        figures.save_figure(picture, target / "figures" / f"{name}.png")
    text = _markdown(content, tables, list(pictures))
    write_whole(target / "report.md", lambda file: file.write(text.encode()))
    print(readable(content["image"]))
    print(f"metrics.json, report.md and figures lie in {target}")


def _is_scores(part: Any) -> bool:
    return isinstance(part, dict) and any(isinstance(value, Estimate) for value in part.values())


def _markdown(content: Mapping[str, Any], tables: Mapping[str, Mapping[str, Estimate]], pictures: list[str]) -> str:
    lines = [f"# Report on {Path(content['table']).name}", ""]
    lines += [f"Intervals: 95 %, bootstrap over {content['group_by']}."]
    if "threshold" in content:
        lines[-1] += (
            f" Calls from a probability of {content['threshold']:g} on; breasts and patients by {content['rule']}."
        )
    for name, scores in tables.items():
        lines += ["", f"## {name}", "", "| | value [95 % interval] | groups |", "|---|---|---|"]
        lines += [f"| {metric.replace('_', ' ')} | {found} | {found.groups} |" for metric, found in scores.items()]
    lines += ["", *(f"![{name}](figures/{name}.png)" for name in pictures)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_command(report)

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
from common.metrics.tables import has_classes, readable, score
from common.reports import figures
from common.reports import two_class as drawn
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
    rule: str = "mean",
    compare: str | None = None,
    resamples: int = 2000,
) -> None:
    """Write metrics.json, report.md and figures/ for a table of predictions.

    Args:
        predictions: a CSV file with a row per image.
        task: "binary" (one probability, one truth) or "classes" (label and p_<class>, with or without masks, as the
            bundles write them).
        output_dir: where they go; a folder report/ beside the table by default.
        probability: the column of the positive class's probability (binary).
        truth: the column of the truth: 1 and 0, true and false, malignant and benign, … (binary).
        identity: the column that names a row.
        group_by: what intervals are resampled over; patient_id or group_id where the table has one.
        threshold: from which a probability is a call (binary); choose it on other data. Default .5.
        operating_point: a JSON file with "threshold" instead.
        rule: how images become breasts and patients: mean, max or noisy_or.
        compare: another table of the same rows: differences, paired (binary).
        resamples: of the bootstrap.

    Raises:
        FileNotFoundError: a table is missing.
        ValueError: an unknown task, or a table that cannot be scored; the message says why.
    """
    target = Path(output_dir) if output_dir else Path(predictions).parent / "report"
    table = _read(predictions)
    group = _group(table, group_by, identity)
    if task == "classes":
        content, pictures = _classes(table, group, resamples)
    elif task == "binary":
        point = _threshold(threshold, operating_point)
        table = two_class.checked_table(table, probability, truth, identity, predictions)
        content, pictures = _binary(table, point, group, rule, resamples)
        if compare is not None:
            other = two_class.checked_table(_read(compare), probability, truth, identity, compare)
            content["difference"] = two_class.compare(table, other, point, identity, group, resamples)
    else:
        raise ValueError(f"Unknown task '{task}': choose binary or classes.")
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


def _threshold(threshold: float | None, operating_point: str | None) -> float:
    if operating_point is not None:
        return float(read_json(Path(operating_point))["threshold"])
    return 0.5 if threshold is None else float(threshold)


def _binary(
    table: pd.DataFrame, threshold: float, group: str, rule: str, resamples: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    levels = two_class.score_levels(table, threshold, group, rule, resamples)
    parts = two_class.subgroups(table, group, resamples=resamples)
    scores = levels["image"]
    pictures = (
        {
            "roc": drawn.roc(table, threshold, group, scores),
            "precision_recall": drawn.precision_recall(table, threshold, scores),
            "reliability": drawn.reliability_curve(table, scores),
            "confusion": drawn.confusion_of_calls(table, threshold),
            "histograms": drawn.histograms(table, threshold),
        }
        if table[two_class.POSITIVE].nunique() == 2
        else {}
    )
    if parts:
        pictures["subgroups"] = drawn.forest(parts, scores["roc_auc"])
    return {"threshold": threshold, "rule": rule, **levels, "subgroups": parts}, pictures


def _classes(table: pd.DataFrame, group: str, resamples: int) -> tuple[dict[str, Any], dict[str, Any]]:
    lacks = [name for name in ("image", "label") if name not in table]
    classes = [column.removeprefix("p_") for column in map(str, table) if column.startswith("p_")]
    if lacks or table.empty:
        raise ValueError(f"The table lacks the columns {lacks}, or rows; it has {list(table.columns)}.")
    table = table.assign(group_id=table[group])
    pictures = {}
    if has_classes(table):
        pictures = {name: draw(table, classes) for name, draw in _CLASS_FIGURES.items()}
    return {"image": score(table, classes, resamples)}, pictures


_CLASS_FIGURES = {"roc_curves": figures.roc_curves, "confusion": figures.confusion}


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

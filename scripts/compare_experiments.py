"""Make one table of all experiments of a bundle out of MLflow: mean and spread over seeds, paired differences."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from common.data.files import write_csv, write_whole
from common.handlers.tracking import open_store
from common.metrics import two_class
from common.metrics.aggregation import LEVELS, aggregate, is_known
from common.metrics.bootstrap import Estimate, Statistic, estimate
from common.metrics.two_class import POSITIVE, PROBABILITY, THRESHOLD
from common.reports.errors import run_command
from common.reports.figures import new_figure, save_figure

SHOWN = ("roc_auc", "average_precision", "probabilistic_f1", "accuracy", "f1", "recall", "precision")
Runs = dict[str, list[pd.DataFrame]]  # units of each run, by experiment


def compare_experiments(
    bundle: str,
    against: str = "ours",
    part: str = "test",
    metric: str = "roc_auc",
    level: str = "breast",
    rule: str = "mean",
    output_dir: str | None = None,
    resamples: int = 2000,
) -> None:
    """Write comparison.md, comparison.csv and comparison.png from the evaluations that MLflow holds.

    Of several runs of one experiment, fold and seed the latest counts. Differences are paired: the same patients,
    resampled together, the mean over the seeds (and folds) of each side; where an experiment was scored on other units,
    such as masses alone, there is none. Several classes are scored as malignant against all others.

    Args:
        bundle: its name, one that classifies.
        against: the experiment that the others are compared with.
        part: of the data that the evaluations scored.
        metric: of the differences.
        level: image, abnormality, breast or patient.
        rule: how images become breasts and patients: mean, max or noisy_or.
        output_dir: where the files go; runs/<bundle>/comparison by default.
        resamples: of the bootstrap.

    Raises:
        ValueError: MLflow holds no such evaluation, or the runs of one experiment are of different data.
    """
    if metric not in SHOWN or level not in LEVELS:
        raise ValueError(f"--metric is one of {SHOWN} and --level one of {list(LEVELS)}.")
    runs = _runs(bundle, part, level, rule)
    if against not in runs:
        raise ValueError(f"No evaluation of '{against}' on '{part}' is in MLflow; there are {sorted(runs)}.")
    rows = {name: _row(tables) for name, tables in runs.items()}
    differences = {
        name: _difference(tables, runs[against], metric, resamples)
        for name, tables in runs.items()
        if name != against and _same_units([*tables, *runs[against]])
    }
    folder = Path(output_dir or Path("runs") / bundle / "comparison")
    text = _markdown(rows, differences, against, metric, part, level)
    write_whole(folder / "comparison.md", lambda file: file.write(text.encode()))
    write_csv(folder / "comparison.csv", _table(rows, differences))
    save_figure(_forest(differences, against, metric), folder / "comparison.png")
    print(text + f"\nWritten to {folder}")


def _runs(bundle: str, part: str, level: str, rule: str) -> Runs:
    open_store(bundle)
    wanted = f"params.part = '{part}' and attributes.status = 'FINISHED'"
    found = mlflow.search_runs(experiment_names=[bundle], filter_string=wanted, order_by=["start_time DESC"])
    keys = ["tags.experiment", "tags.fold", "params.seed"]
    if found.empty or any(key not in found for key in keys):
        raise ValueError(f"MLflow holds no finished evaluation of {bundle} on '{part}'. Evaluate first.")
    latest = found.dropna(subset=keys[:1]).drop_duplicates(keys).sort_values(keys)
    runs: Runs = {}
    for row in latest.to_dict("records"):
        table = _units(row["run_id"], level, rule)
        runs.setdefault(str(row["tags.experiment"]), []).append(table)
    mixed = [name for name, tables in runs.items() if not _same_units(tables)]
    if mixed:
        raise ValueError(f"The runs of {mixed} were scored on different data: evaluate them on one data set.")
    return runs


def _same_units(tables: Sequence[pd.DataFrame]) -> bool:
    """Tell whether tables are of the same units, and agree on their truth."""
    first = tables[0]
    return all(one.index.equals(first.index) and one[POSITIVE].equals(first[POSITIVE]) for one in tables)


def _units(run_id: str, level: str, rule: str) -> pd.DataFrame:
    """Return a run's predictions, a row for each unit, in an order that all runs share."""
    with tempfile.TemporaryDirectory() as folder:
        path = mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="predictions.csv", dst_path=folder)
        table = pd.read_csv(path, dtype={"patient_id": str})
    if PROBABILITY not in table:
        table = _malignant_or_not(table)
    level = level if is_known(table, level) else "image"
    return aggregate(table, level, rule).set_index(list(LEVELS[level]), drop=False).sort_index()


def _malignant_or_not(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of several classes as one of two."""
    malignant = [column for column in map(str, table) if column.startswith("p_malignant")]
    facts = {POSITIVE: table["label"].str.startswith("malignant"), PROBABILITY: table[malignant].sum(axis=1)}
    return table.assign(**facts, **{THRESHOLD: 0.5})


def _values(table: pd.DataFrame) -> dict[str, float]:
    ones = np.ones((1, len(table)))
    return {name: float(figure(ones)[0]) for name, figure in two_class.statistics(table).items() if name in SHOWN}


def _row(tables: Sequence[pd.DataFrame]) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation over the runs of each figure."""
    values = pd.DataFrame([_values(table) for table in tables])
    return {name: (float(values[name].mean()), float(values[name].std(ddof=1))) for name in SHOWN} | {
        "runs": (len(tables), 0.0)
    }


def _mean(statistics: Sequence[Statistic], weights: np.ndarray) -> np.ndarray:
    return np.mean([figure(weights) for figure in statistics], axis=0)


def _difference(first: Sequence[pd.DataFrame], second: Sequence[pd.DataFrame], metric: str, resamples: int) -> Estimate:
    ones, others = ([two_class.statistics(t)[metric] for t in tables] for tables in (first, second))
    groups = list(first[0]["patient_id"])
    return estimate(lambda weights: _mean(ones, weights) - _mean(others, weights), groups, resamples)


def _table(rows: Mapping[str, Mapping[str, tuple[float, float]]], differences: Mapping[str, Estimate]) -> pd.DataFrame:
    lines = []
    for name, row in rows.items():
        line: dict[str, object] = {"experiment": name, "runs": int(row["runs"][0])}
        for metric in SHOWN:
            line |= {metric: row[metric][0], f"{metric}_sd": row[metric][1]}
        found = differences.get(name)
        line |= {f"difference_{key}": getattr(found, key, None) for key in ("value", "low", "high")}
        lines.append(line)
    return pd.DataFrame(lines)


def _markdown(
    rows: Mapping[str, Mapping[str, tuple[float, float]]],
    differences: Mapping[str, Estimate],
    against: str,
    metric: str,
    part: str,
    level: str,
) -> str:
    names = [name.replace("_", " ") for name in SHOWN]
    lines = [f"Per {level} on '{part}', mean ± standard deviation over runs; {metric.replace('_', ' ')} less that of "]
    lines[0] += f"`{against}`, paired, with its 95 % interval over patients."
    lines += ["", f"| experiment | runs | {' | '.join(names)} | difference |", "|---" * (len(names) + 3) + "|"]
    for name, row in rows.items():
        figures = " | ".join(f"{row[one][0]:.3f} ± {row[one][1]:.3f}" for one in SHOWN)
        shown = differences.get(name)
        text = f"{shown.value:+.3f} [{shown.low:+.3f}, {shown.high:+.3f}]" if shown else "-"
        lines.append(f"| `{name}` | {int(row['runs'][0])} | {figures} | {text} |")
    return "\n".join(lines) + "\n"


def _forest(differences: Mapping[str, Estimate], against: str, metric: str) -> Figure:
    figure, (axes,) = new_figure(width=7, height=1.2 + 0.3 * max(1, len(differences)))
    for place, found in enumerate(differences.values()):
        axes.plot([found.low, found.high], [place, place], color="C0")
        axes.plot(found.value, place, "s", color="C0", markersize=4)
    axes.axvline(0, color="grey", linestyle="--", linewidth=0.8)
    axes.set_yticks(range(len(differences)), list(differences), fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel=f"{metric.replace('_', ' ')} less that of {against}, 95 % interval")
    return figure


if __name__ == "__main__":
    run_command(compare_experiments)

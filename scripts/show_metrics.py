"""Show a metrics.csv as a table for people, in the terminal or as Markdown."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from common.metrics.bootstrap import Estimate
from common.metrics.tables import readable
from common.reports.errors import run_command


def show_metrics(*files: str, markdown: bool = False) -> None:
    """Print metrics with their 95 % intervals.

    Args:
        files: one or more metrics.csv.
        markdown: print one table with a row per file instead.
    """
    missing = [file for file in files if not Path(file).is_file()]
    if missing or not files:
        raise FileNotFoundError(f"No metrics.csv at {', '.join(missing) or '(nothing named)'}. Evaluate first.")
    tables = {file: _read(file) for file in files}
    if markdown:
        print(_markdown(tables))
        return
    for file, scores in tables.items():
        print(f"{file}\n{readable(scores)}")


def _read(file: str) -> dict[str, Estimate]:
    rows = pd.read_csv(file)[["metric", "value", "low", "high", "n", "groups"]].itertuples(index=False)
    return {name: Estimate(*figures) for name, *figures in rows}


def _markdown(tables: dict[str, dict[str, Estimate]]) -> str:
    names = list(dict.fromkeys(name for scores in tables.values() for name in scores))
    lines = ["| file | " + " | ".join(name.replace("_", " ") for name in names) + " |", "|---" * (len(names) + 1) + "|"]
    for file, scores in tables.items():
        lines.append(f"| {file} | " + " | ".join(str(scores.get(name, "-")) for name in names) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(show_metrics)

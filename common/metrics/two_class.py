"""Score a table of two-class predictions from anywhere: images, breasts, patients, subgroups, two models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from common.metrics.aggregation import UNIT_FILES, aggregate, is_known
from common.metrics.binary import OF_CALLS, OF_SCORES
from common.metrics.bootstrap import Estimate, Statistic, estimates
from common.metrics.calibration import expected_calibration_error
from common.metrics.classification import roc_auc

POSITIVE, PROBABILITY, THRESHOLD = "positive", "probability", "threshold"
SUBGROUPS = ("kind", "site_id", "machine_id", "view", "density", "age", "implant", "laterality")
AGES = [0, 40, 50, 60, 70, 200]
MOST_GROUPS = 12  # of a column whose subgroups are shown
TRUE_WORDS = {"1", "1.0", "true", "yes", "malignant", "cancer", "positive"}
FALSE_WORDS = {"0", "0.0", "false", "no", "benign", "benign_without_callback", "normal", "no cancer", "negative"}


def checked_table(table: pd.DataFrame, probability: str, truth: str, identity: str, source: str = "") -> pd.DataFrame:
    """Return predictions with the columns ``positive`` (bool) and ``probability``, or refuse them.

    Raises:
        ValueError: the table is empty, lacks a column, or holds rows without a truth, NaN or impossible probabilities,
            or one identifier twice; the message counts them and names the first.
    """
    where = f" in {source}" if source else ""
    lacks = [name for name in (probability, truth, identity) if name not in table]
    if lacks:
        raise ValueError(f"The columns {lacks} are missing{where}; there are {list(table.columns)}.")
    if table.empty:
        raise ValueError(f"There are no rows{where}.")
    words = table[truth].astype(str).str.strip().str.lower()
    score = pd.to_numeric(table[probability], errors="coerce")
    wrong = {
        f"have a '{truth}' that is neither true nor false": ~words.isin(TRUE_WORDS | FALSE_WORDS),
        f"have no number for '{probability}'": score.isna(),
        f"have a '{probability}' outside 0 to 1": (score < 0) | (score > 1),
        f"share their '{identity}' with another row": table[identity].duplicated(keep=False),
    }
    for words_, rows in wrong.items():
        if rows.any():
            first = table[identity][rows].iloc[0]
            raise ValueError(f"{rows.sum()} of {len(table)} rows{where} {words_}, such as {first}. Mend the table.")
    return table.assign(positive=words.isin(TRUE_WORDS), probability=score.astype(float))


def statistics(table: pd.DataFrame) -> dict[str, Statistic]:
    """Return every two-class figure of a checked table with a ``threshold`` in each row, as a function of weights."""
    truth, score = table[POSITIVE].to_numpy(bool), table[PROBABILITY].to_numpy(float)
    called = score >= table[THRESHOLD].to_numpy(float)
    return {
        **{name: partial(metric, truth, score) for name, metric in OF_SCORES.items()},
        "expected_calibration_error": partial(expected_calibration_error, truth, score),
        **{name: partial(metric, truth, called) for name, metric in OF_CALLS.items()},
    }


def score_levels(
    table: pd.DataFrame, group: str, rule: str = "mean", resamples: int = 2000
) -> dict[str, dict[str, Estimate]]:
    """Return all figures per image and, as far as the identifiers allow, per abnormality, breast and patient.

    Args:
        table: from `checked_table`, with the ``threshold`` from which each row is called, chosen on other data.
        group: the column that intervals are resampled over.
        rule: how probabilities are joined (`common.metrics.aggregation`).
        resamples: of the bootstrap.
    """
    found = {"image": estimates(statistics(table), list(table[group]), resamples)}
    for level in UNIT_FILES:
        if is_known(table, level):
            units = aggregate(table, level, rule, PROBABILITY, POSITIVE)
            over = group if group in units else "patient_id"
            found[level] = estimates(statistics(units), list(units[over]), resamples)
    return found


def compare(
    first: pd.DataFrame, second: pd.DataFrame, identity: str, group: str, resamples: int = 2000
) -> dict[str, Estimate]:
    """Return first - second of every figure with its interval, paired by identifier.

    Raises:
        ValueError: the tables are not of the same rows, or disagree on the truth.
    """
    ones, others = first.set_index(identity).sort_index(), second.set_index(identity).sort_index()
    if not ones.index.equals(others.index):
        odd = sorted(set(ones.index) ^ set(others.index))
        raise ValueError(f"The tables cannot be paired: {len(odd)} rows are in one only, such as {odd[0]}.")
    if (ones[POSITIVE] != others[POSITIVE]).any():
        raise ValueError(f"The tables disagree on the truth of {(ones[POSITIVE] != others[POSITIVE]).sum()} rows.")
    theirs = statistics(others)
    pairs = {name: (figure, theirs[name]) for name, figure in statistics(ones).items()}

    def subtract(pair: tuple[Statistic, Statistic], weights: np.ndarray) -> np.ndarray:
        return pair[0](weights) - pair[1](weights)

    return estimates({name: partial(subtract, pair) for name, pair in pairs.items()}, list(ones[group]), resamples)


def subgroups(
    table: pd.DataFrame, group: str, columns: Sequence[str] = SUBGROUPS, resamples: int = 2000
) -> dict[str, dict[str, Estimate]]:
    """Return the AUC of each value of each column that has a few; values of one class only are left out.

    All are taken from the same resamples of the whole table.
    """
    parts = {column: _parts(table, column) for column in columns if column in table}
    shown = {column: rows for column, rows in parts.items() if 1 < len(rows) <= MOST_GROUPS}
    aucs = {f"{column}={name}": _auc_on(table, rows) for column, found in shown.items() for name, rows in found.items()}
    scores = estimates(aucs, list(table[group]), resamples)
    groups = table[group].to_numpy()
    return {
        column: {
            name: replace(scores[f"{column}={name}"], n=len(rows), groups=len(set(groups[rows])))
            for name, rows in found.items()
        }
        for column, found in shown.items()
    }


def _parts(table: pd.DataFrame, column: str) -> dict[str, np.ndarray]:
    """Return the places of the rows of each value of a column that holds both classes."""
    values = table[column]
    if column == "age":
        values = pd.cut(pd.to_numeric(values, errors="coerce"), AGES, right=False).astype(object)
    truth, words = table[POSITIVE].to_numpy(), values.to_numpy()
    places = {str(value): np.flatnonzero(words == value) for value in values.dropna().unique()}
    return {name: rows for name, rows in sorted(places.items()) if 0 < truth[rows].sum() < len(rows)}


def _auc_on(table: pd.DataFrame, rows: np.ndarray) -> Statistic:
    truth, score = table[POSITIVE].to_numpy()[rows], table[PROBABILITY].to_numpy()[rows]
    return lambda weights: roc_auc(truth, score, weights[:, rows])


def as_json(scores: Mapping[str, Estimate]) -> dict[str, dict[str, float | None]]:
    """Return estimates as JSON holds them; what is undefined is null."""
    return {
        name: {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in vars(found).items()}
        for name, found in scores.items()
    }

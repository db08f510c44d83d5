"""What can be told without looking at the breast: baselines that a network has to beat, and that should be poor.

A class that follows from the size of the image, from its overall brightness or from the row of metadata is a shortcut
that a network will take. Every baseline is a logistic regression, trained on all folds but one and scored on that one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kurtosis, skew
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from common.data.datalist import GROUP_KEYS, group_key
from common.metrics.bootstrap import Estimate, estimate
from common.metrics.classification import macro_auc

NOT_METADATA = (
    *("image", "mask", "label", "split", "fold", "duplicate_group", "image_id", "shape", "source_shape", "crop"),
    *("cancer", "biopsy", "invasive", "BIRADS", "difficult_negative_case", "pathology", "malignant", "quality_flags"),
    *GROUP_KEYS,
)  # what names an item, what it is, or what was found out about it afterwards
MOST_VALUES = 30  # of a column of words: more are names


def size_features(shape: Sequence[int]) -> dict[str, float]:
    """Return what the size (rows, columns) of an image says."""
    rows, columns = shape[:2]
    return {"rows": rows, "columns": columns, "aspect": rows / columns, "pixels": rows * columns}


def statistics_features(image: np.ndarray) -> dict[str, float]:
    """Return global statistics of an image (H, W): moments and percentiles, no place."""
    values = np.asarray(image, float).ravel()
    shares = (1, 5, 25, 50, 75, 95, 99)
    if np.ptp(values) == 0:
        values = values + np.linspace(0, 1e-9, len(values))  # moments of a constant are undefined
    named = {f"p{share}": v for share, v in zip(shares, np.percentile(values, shares), strict=True)}
    return {
        "mean": values.mean(),
        "deviation": values.std(),
        "skew": skew(values),
        "kurtosis": kurtosis(values),
        **named,
    }


def metadata_features(items: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the columns of a datalist that are known before anybody has looked: numbers, and words with few values."""
    table = pd.DataFrame([{k: v for k, v in item.items() if k not in NOT_METADATA} for item in items])
    plain = [c for c in table if not table[c].map(lambda value: isinstance(value, list | dict)).any()]
    few = [c for c in plain if pd.api.types.is_numeric_dtype(table[c]) or table[c].nunique() <= MOST_VALUES]
    return table[[c for c in few if table[c].nunique() > 1]]


def out_of_fold(features: pd.DataFrame, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return probabilities (n, C) of a logistic regression that was trained on the other folds; classes sorted."""
    classes = np.unique(labels)
    found = np.zeros((len(labels), len(classes)))
    for fold in np.unique(folds):
        here = folds == fold
        model = _model(features).fit(features[~here], labels[~here])
        found[np.ix_(here, np.searchsorted(classes, model.classes_))] = model.predict_proba(features[here])
    return found


def _model(features: pd.DataFrame) -> Any:
    numbers = [c for c in features if pd.api.types.is_numeric_dtype(features[c])]
    words = [c for c in features if c not in numbers]
    prepared = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="ignore"), words),
    )
    # balanced: else the share of a class in the other folds, which is low where it is high in this one, tells it
    return make_pipeline(prepared, LogisticRegression(max_iter=2000, class_weight="balanced"))


def baseline(features: pd.DataFrame, items: Sequence[Mapping[str, Any]], labels: np.ndarray) -> Estimate:
    """Return the (macro) AUC of a baseline on out-of-fold items, with its interval over patients or groups.

    Args:
        features: a row per item.
        items: of a datalist, with ``fold``.
        labels: of the items, or shuffled ones.
    """
    folds = np.array([item["fold"] for item in items])
    _, truth = np.unique(labels, return_inverse=True)
    probabilities = out_of_fold(features, labels, folds)
    key = group_key(items)
    return estimate(partial(macro_auc, truth, probabilities), [item[key] for item in items])


def chance(
    features: pd.DataFrame, items: Sequence[Mapping[str, Any]], labels: np.ndarray, shuffles: int = 40, seed: int = 0
) -> Estimate:
    """Return the mean AUC of a baseline on labels that were dealt anew, with the middle 95 % of the shuffles.

    Many shuffles, since one model trained on chance strays further than a bootstrap of its predictions tells. An
    interval that does not hold .5 tells of folds that leak.
    """
    found = [_auc(features, items, shuffled(items, labels, seed + number)) for number in range(shuffles)]
    low, high = np.nanpercentile(found, [2.5, 97.5])
    groups = len({item[group_key(items)] for item in items})
    return Estimate(float(np.nanmean(found)), float(low), float(high), len(items), groups)


def _auc(features: pd.DataFrame, items: Sequence[Mapping[str, Any]], labels: np.ndarray) -> float:
    _, truth = np.unique(labels, return_inverse=True)
    return float(macro_auc(truth, out_of_fold(features, labels, np.array([item["fold"] for item in items])))[0])


def shuffled(items: Sequence[Mapping[str, Any]], labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return the labels dealt anew among patients or groups: each keeps its number of items, and nothing else."""
    key = group_key(items)
    names = np.array([str(item[key]) for item in items])
    order = {name: place for place, name in enumerate(np.random.default_rng(seed).permutation(np.unique(names)))}
    source = np.argsort(names, kind="stable")
    target = np.argsort([order[name] for name in names], kind="stable")
    result = np.empty_like(labels)
    result[target] = labels[source]
    return result

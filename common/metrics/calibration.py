"""Are probabilities what they say, and how to make them so: reliability, calibration, another prevalence.

A calibration is a dictionary that JSON can hold, fitted on other data than it is reported on, kept beside the weights,
and applied to probabilities of the positive class by `calibrated`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from common.metrics.classification import as_weights

BINS = 15
SMALLEST = 1e-6  # probabilities are kept this far from 0 and 1 where a logarithm is taken
TINY = 1e-12  # and that far from 0 where only one end matters
Calibration = Mapping[str, Any]


def _logit(probability: np.ndarray) -> np.ndarray:
    p = np.clip(probability, SMALLEST, 1 - SMALLEST)
    return np.log(p / (1 - p))


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))


def reliability(positive: ArrayLike, probability: ArrayLike, bins: int = BINS) -> pd.DataFrame:
    """Return, for each of equally wide bins that holds rows, n, the mean probability and the share of positives."""
    truth, p = np.asarray(positive, float), np.asarray(probability, float)
    place = np.minimum((p * bins).astype(int), bins - 1)
    table = pd.DataFrame({"bin": place, "probability": p, "positive": truth}).groupby("bin")
    return table.agg(n=("positive", "size"), probability=("probability", "mean"), positive=("positive", "mean"))


def expected_calibration_error(
    positive: ArrayLike, probability: ArrayLike, weights: np.ndarray | None = None, bins: int = BINS
) -> np.ndarray:
    """Return Σ share of rows · |mean probability - share of positives| over equally wide bins; 0 is best.

    Args:
        positive: bool (n,).
        probability: (n,).
        weights: (R, n).
        bins: how many.
    """
    truth, p = np.asarray(positive, float), np.asarray(probability, float)
    place = np.minimum((p * bins).astype(int), bins - 1)
    used, gaps = as_weights(weights, len(p)), np.zeros((len(p), bins))
    gaps[np.arange(len(p)), place] = p - truth
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.abs(used @ gaps).sum(1) / used.sum(1)


def fit_calibration(positive: ArrayLike, probability: ArrayLike, kind: str = "temperature") -> dict[str, Any]:
    """Fit a calibration: "temperature" (one factor on the logits), "platt" (a factor and a shift, which also mends
    what resampling or weighting did to the prevalence) or "isotonic" (any rising curve).

    Raises:
        ValueError: an unknown kind, or rows of one class only.
    """
    truth, p = np.asarray(positive, bool), np.asarray(probability, float)
    if truth.all() or not truth.any():
        raise ValueError(f"A calibration cannot be fitted: all of {len(truth)} rows are of one class.")
    if kind == "temperature":
        return {"kind": kind, "temperature": _best_temperature(truth, _logit(p))}
    if kind == "platt":
        fitted = LogisticRegression(C=np.inf).fit(_logit(p)[:, None], truth)
        return {"kind": kind, "factor": float(fitted.coef_[0, 0]), "shift": float(fitted.intercept_[0])}
    if kind == "isotonic":
        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p, truth)
        return {"kind": kind, "from": curve.X_thresholds_.tolist(), "to": curve.y_thresholds_.tolist()}
    raise ValueError(f"Unknown calibration '{kind}': choose temperature, platt or isotonic.")


def _best_temperature(truth: np.ndarray, logit: np.ndarray) -> float:
    sign = np.where(truth, 1.0, -1.0)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, -sign * logit / np.exp(log_temperature)).mean())

    return _minimum(loss)


def _minimum(loss: Callable[[float], float]) -> float:
    return float(np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x))


def calibrated(probability: ArrayLike, calibration: Calibration | None) -> np.ndarray:
    """Return probabilities (n,) after a calibration; without one as they are.

    >>> float(calibrated([0.8], {"kind": "temperature", "temperature": 1.0})[0].round(6))
    0.8
    """
    p = np.asarray(probability, float)
    if calibration is None:
        return p
    if calibration["kind"] == "temperature":
        return _sigmoid(_logit(p) / calibration["temperature"])
    if calibration["kind"] == "platt":
        return _sigmoid(_logit(p) * calibration["factor"] + calibration["shift"])
    if calibration["kind"] == "isotonic":
        return np.interp(p, calibration["from"], calibration["to"])
    raise ValueError(f"Unknown calibration '{calibration['kind']}': expected temperature, platt or isotonic.")


def fit_class_calibration(truth: ArrayLike, probabilities: np.ndarray) -> dict[str, Any]:
    """Fit one temperature for all classes, by likelihood.

    Args:
        truth: class index (n,).
        probabilities: (n, C).

    Source: Guo et al., On Calibration of Modern Neural Networks (2017), section 4.2.
    """
    logs = np.log(np.clip(probabilities, TINY, 1))
    rows, classes = np.arange(len(logs)), np.asarray(truth, int)

    def loss(log_temperature: float) -> float:
        scaled = logs / np.exp(log_temperature)
        return float((logsumexp(scaled, axis=1) - scaled[rows, classes]).mean())

    return {"kind": "temperature", "temperature": _minimum(loss)}


def calibrated_classes(probabilities: np.ndarray, calibration: Calibration | None) -> np.ndarray:
    """Return probabilities (n, C) at a calibration's temperature; without one as they are.

    >>> calibrated_classes(np.array([[0.2, 0.8]]), {"kind": "temperature", "temperature": 1.0}).round(6).tolist()
    [[0.2, 0.8]]
    """
    p = np.asarray(probabilities, float)
    if calibration is None:
        return p
    if calibration["kind"] != "temperature":
        raise ValueError(f"Several classes are calibrated by temperature, not by '{calibration['kind']}'.")
    return softmax(np.log(np.clip(p, TINY, 1)) / calibration["temperature"], axis=1)


def at_prevalence(probability: ArrayLike, fitted: float, wanted: float) -> np.ndarray:
    """Carry calibrated probabilities (n,) from the prevalence they were fitted at to another, by Bayes' theorem.

    Source: Saerens et al., Adjusting the outputs of a classifier to new a priori probabilities (2002), equation 2.4.

    Raises:
        ValueError: a prevalence is not between 0 and 1.
    """
    if not (0 < fitted < 1 and 0 < wanted < 1):
        raise ValueError(f"A prevalence lies between 0 and 1, not at {fitted} or {wanted}.")
    shift = _logit(np.array(wanted)) - _logit(np.array(fitted))
    return _sigmoid(_logit(np.asarray(probability, float)) + shift)

"""From probabilities to a decision, at an operating point that was chosen on other data.

An operating point is a dictionary: ``mask_threshold``, the probability from which a pixel is lesion,
``normal_threshold``, the (calibrated) probability from which an image is called lesion-free, and ``calibration``
(`common.metrics.calibration`) of the class probabilities. Each may be None: .5 for the mask, the most probable class
for the image, the network's own probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

LESION_FREE = "normal"
OperatingPoint = Mapping[str, Any]


def mask_threshold(point: OperatingPoint | None) -> float:
    """Return the probability from which a pixel is lesion."""
    value = (point or {}).get("mask_threshold")
    return 0.5 if value is None else float(value)


def call_classes(probabilities: np.ndarray, classes: Sequence[str], point: OperatingPoint | None = None) -> np.ndarray:
    """Return the class that each image is called.

    Args:
        probabilities: (n, C).
        classes: names in the order of the columns.
        point: an image is called lesion-free from its ``normal_threshold`` on, and by the most probable of the
            other classes below it.

    Returns:
        names (n,).

    Example:
        >>> names = ["benign", "malignant", "normal"]
        >>> str(call_classes(np.array([[0.3, 0.2, 0.5]]), names, {"normal_threshold": 0.6})[0])
        'benign'
    """
    names, values = np.asarray(classes), np.asarray(probabilities, np.float64)
    threshold = (point or {}).get("normal_threshold")
    if threshold is None or LESION_FREE not in classes:
        return names[values.argmax(1)]
    healthy = list(classes).index(LESION_FREE)
    lesions = np.where(np.arange(len(classes)) == healthy, -np.inf, values)
    return np.where(values[:, healthy] >= threshold, LESION_FREE, names[lesions.argmax(1)])

"""Figures of a run, each drawn from its tables and saved as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.ndimage import binary_erosion
from sklearn.metrics import confusion_matrix, roc_curve

from common.data.files import write_whole
from common.metrics.classification import roc_auc
from common.metrics.segmentation import iou
from common.metrics.tables import has_classes

matplotlib.use("Agg")
TRUE_COLOUR, PREDICTED_COLOUR = (0.0, 0.8, 0.4), (1.0, 0.4, 0.1)


def save_figure(figure: Figure, path: Path) -> Path:
    """Save a figure as PNG, whole or not at all."""
    return write_whole(path, lambda file: figure.savefig(file, format="png", dpi=120))


def new_figure(rows: int = 1, columns: int = 1, width: float = 5.0, height: float = 4.0) -> tuple[Figure, np.ndarray]:
    """Return a figure and its axes in a row (n,); width and height are inches of each."""
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, np.atleast_1d(figure.subplots(rows, columns)).ravel()


def training_curves(history: pd.DataFrame) -> Figure:
    """Draw loss, and each validation metric, against the epoch."""
    figure, (left, right) = new_figure(columns=2)
    left.plot(history["epoch"], history["train_loss"])
    left.set(xlabel="epoch", ylabel="training loss")
    for name in (c for c in map(str, history) if c.startswith("val_")):
        known = history.dropna(subset=[name])
        right.plot(known["epoch"], known[name], label=name.removeprefix("val_").replace("_", " "))
    right.set(xlabel="epoch", ylabel="validation metric", ylim=(0, 1))
    right.legend(fontsize=7)
    return figure


def roc_curves(predictions: pd.DataFrame, classes: Sequence[str]) -> Figure:
    """Draw the ROC curve of each class against the rest, with its area."""
    figure, (axes,) = new_figure()
    for name in classes:
        positive, probability = predictions["label"] == name, predictions[f"p_{name}"]
        if positive.nunique() == 2:
            rate, sensitivity, _ = roc_curve(positive, probability)
            axes.plot(rate, sensitivity, label=f"{name} (AUC {roc_auc(positive, probability)[0]:.3f})")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", title=f"{len(predictions)} images", aspect="equal")
    axes.legend(loc="lower right", fontsize=8)
    return figure


def confusion(predictions: pd.DataFrame, classes: Sequence[str]) -> Figure:
    """Draw the confusion matrix: counts, coloured by the share of the true class."""
    counts = confusion_matrix(predictions["label"], predictions["predicted"], labels=list(classes))
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, (axes,) = new_figure()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, f"{count}\n{share[row, column]:.0%}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="predicted", ylabel="true")
    return figure


def threshold_curve(areas: pd.DataFrame, threshold: float) -> Figure:
    """Draw mean IoU over the lesions against the mask's threshold, and mark the one in use."""
    lesions = areas[areas["true_px"] > 0]
    values = iou(*(lesions[f"{name}_px"].to_numpy(float) for name in ("overlap", "predicted", "true")))
    mean = lesions.assign(iou=values).groupby("threshold")["iou"].mean()
    figure, (axes,) = new_figure()
    axes.plot(mean.index, mean, marker="o", markersize=3)
    axes.axvline(threshold, color="grey", linestyle="--", label=f"in use: {threshold:g}")
    axes.set(xlabel="threshold", ylabel="mean IoU of lesions (class ignored)", ylim=(0, 1))
    axes.legend()
    return figure


def histogram(values: np.ndarray, name: str) -> Figure:
    """Draw how often values between 0 and 1 occur; NaN are left out."""
    known = values[~np.isnan(values)]
    figure, (axes,) = new_figure()
    axes.hist(known, np.linspace(0, 1, 21))
    axes.set(xlabel=name, ylabel="how many", title=f"n={len(known)}")
    return figure


def stretch(image: np.ndarray) -> np.ndarray:
    """Return an image with its values spread over [0, 1] for showing."""
    low, high = np.percentile(image, [0.5, 99.5])
    return np.clip((image - low) / max(high - low, 1e-6), 0, 1)


def outline(mask: np.ndarray) -> np.ndarray:
    """Return the inner border of a mask, bool (H, W)."""
    return mask & ~binary_erosion(mask, iterations=max(1, round(min(mask.shape) / 200)))


def overlay(image: np.ndarray, predicted: np.ndarray, truth: np.ndarray | None = None) -> np.ndarray:
    """Return RGB (H, W, 3) in [0, 1]: the image with the outline of the predicted and the true mask."""
    picture = np.repeat(image[..., None], 3, axis=2)
    if truth is not None:
        picture[outline(truth)] = TRUE_COLOUR
    picture[outline(predicted)] = PREDICTED_COLOUR
    return picture


def overlay_page(pictures: Sequence[Mapping[str, Any]], predictions: pd.DataFrame, threshold: float) -> Figure:
    """Draw a page of images with true (green) and predicted (orange) outlines, and what each was called."""
    rows = predictions.set_index("image")
    number = -(-len(pictures) // 6)
    figure, axes = new_figure(number, 6, 2.2, 2.5)
    for axis in axes:
        axis.axis("off")
    for axis, picture in zip(axes, pictures, strict=False):
        row = rows.loc[picture["name"]]
        predicted = (picture["probability"] >= threshold) & bool(row["predicted_px"] > 0)
        axis.imshow(overlay(stretch(picture["image"]), predicted, picture["truth"] > 0.5))
        called = f" → {row['predicted']}" if has_classes(predictions) else ""
        axis.set_title(f"{row['label']}{called}", fontsize=8)
    figure.suptitle("true outline green, predicted orange", fontsize=9)
    return figure

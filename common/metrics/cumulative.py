"""Two-class figures as MONAI metrics, gathered over batches and processes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric

from common.metrics.binary import OF_CALLS, OF_SCORES
from common.metrics.calibration import expected_calibration_error

FIGURES: dict[str, Callable[..., np.ndarray]] = {
    **OF_SCORES,
    "expected_calibration_error": expected_calibration_error,
    **OF_CALLS,
}


class TwoClassFigure(CumulativeIterationMetric):
    """One figure of probabilities (B,) or (B, 1) and truths of the same shape, over all batches.

    Args:
        figure: "roc_auc", "average_precision", "probabilistic_f1", "brier_score", "expected_calibration_error", "f1",
            "precision", "recall", "specificity" or "recall_rate".
        threshold: from which a probability is a call, for the last five.

    Raises:
        ValueError: an unknown figure.

    What is undefined is NaN.
    """

    def __init__(self, figure: str, threshold: float = 0.5) -> None:
        super().__init__()
        if figure not in FIGURES:
            raise ValueError(f"Unknown figure '{figure}': choose one of {list(FIGURES)}.")
        self.figure, self.threshold = figure, threshold

    def _compute_tensor(  # type: ignore[override]
        self, y_pred: torch.Tensor, y: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return y_pred.reshape(-1), y.reshape(-1)

    def aggregate(self) -> float:
        """Return the figure of everything so far."""
        buffers = self.get_buffer()
        score, truth = (np.asarray(part.detach().cpu(), np.float64) for part in buffers)
        given = score >= self.threshold if self.figure in OF_CALLS else score
        return float(FIGURES[self.figure](truth > 0.5, given)[0])

"""A second stage: what a classifier of patches says of regions that a detector has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from common.data.heads import heads_of
from common.data.patches import cut, large_context
from common.metrics.calibration import calibrated
from common.networks.patch_classifier import PatchClassifier

MEAN, DEVIATION = 0.449, 0.226  # what cbis_patch_classifier normalises with


class RegionClassifier:
    """Give the probability that each region of a mammogram is malignant.

    A region is cut out with its surroundings as `scripts/prepare_cbis.py` cuts large context, so that the classifier
    sees what it was trained on.

    Args:
        network: trained on large context.
        heads: of its training (`common.data.heads`): "malignant", or several classes, whose malignant ones count.
        operating_point: of its training, whose calibration and threshold are applied to a single "malignant".
        surroundings: share of the region's longer side that is added.
        device: of the network.
    """

    def __init__(
        self,
        network: PatchClassifier,
        heads: Sequence[Mapping[str, Any]],
        operating_point: Mapping[str, Any],
        surroundings: float = 0.5,
        device: Any = "cpu",
    ) -> None:
        self.network, self.head = network.to(device).eval(), heads_of(heads)[0]
        self.point, self.surroundings, self.device = operating_point, surroundings, device

    def __call__(self, picture: np.ndarray, regions: Sequence[np.ndarray]) -> list[dict[str, Any]]:
        """Return ``malignancy`` and, where there is a threshold, ``called_malignant`` of each region.

        Args:
            picture: (H, W) in [0, 1], as it was loaded.
            regions: bool (H, W) each, none of them empty.
        """
        if not regions:
            return []
        size = self.network.image_size[0]
        patches = np.stack([cut(picture, large_context(mask, size, self.surroundings), size) for mask in regions])
        images = (torch.from_numpy(patches).float()[:, None] - MEAN) / DEVIATION
        with torch.inference_mode():
            logits = self.network(images.to(self.device)).float().cpu()
        return [self._said(float(value)) for value in self._malignancy(logits[:, : self.head.columns])]

    def _malignancy(self, logits: torch.Tensor) -> np.ndarray:
        if self.head.kind == "classes":
            malignant = [n for n, value in enumerate(self.head.values) if str(value).startswith("malignant")]
            return logits.softmax(1)[:, malignant].sum(1).numpy()
        return calibrated(logits[:, 0].sigmoid().double().numpy(), self.point.get("calibration"))

    def _said(self, malignancy: float) -> dict[str, Any]:
        threshold = self.point.get("threshold") if self.head.kind == "binary" else None
        called = {} if threshold is None else {"called_malignant": malignancy >= float(threshold)}
        return {"malignancy": malignancy, **called}

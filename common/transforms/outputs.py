"""From a network's output to probabilities and a decision."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from common.metrics.calibration import calibrated_classes
from common.metrics.decisions import LESION_FREE, OperatingPoint, call_classes, mask_threshold
from common.networks.outputs import split_outputs


class Probabilitiesd(MapTransform):
    """Turn one item's logits into probabilities under new keys.

    Adds ``mask_probability`` (1, H, W), by the sigmoid, and ``class_probability`` (C,), by the softmax, as far
    as ``outputs`` has them.

    Args:
        keys: of the network's output, one item without its batch axis.
        outputs: see `common.networks.outputs.split_outputs`.
        operating_point: whose ``calibration`` the class probabilities get, if any; the uncalibrated ones then stand
            under ``raw_class_probability``.
    """

    def __init__(
        self,
        keys: KeysCollection,
        outputs: Sequence[str],
        operating_point: OperatingPoint | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.outputs = list(outputs)
        self.calibration = (operating_point or {}).get("calibration")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            logits = split_outputs(result[key].float()[None], self.outputs)
            if "mask" in logits:
                result["mask_probability"] = MetaTensor(torch.sigmoid(logits["mask"][0]))  # as Invertd wants it
            if "class" in logits:
                result["class_probability"] = torch.softmax(logits["class"][0], 0)
                if self.calibration is not None:
                    own = result["raw_class_probability"] = result["class_probability"]
                    wanted = calibrated_classes(np.asarray(own.cpu())[None], self.calibration)[0]
                    result["class_probability"] = torch.as_tensor(wanted).to(own)
        return result


class DecideMaskd(MapTransform):
    """Turn a mask's probability into the final mask: at the operating point's threshold, and empty where the
    image is called lesion-free.

    Args:
        keys: of the mask probability (1, H, W).
        operating_point: see `common.metrics.decisions`.
        classes: class names in the order of ``class_probability``.
        mask_key: where the mask, bool (1, H, W), goes.
    """

    def __init__(
        self,
        keys: KeysCollection,
        operating_point: OperatingPoint | None,
        classes: Sequence[str],
        mask_key: str = "predicted_mask",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.point, self.classes, self.mask_key = operating_point, list(classes), mask_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        probability = result.get("class_probability")
        rows = None if probability is None else np.asarray(probability.cpu())[None]
        healthy = rows is not None and call_classes(rows, self.classes, self.point)[0] == LESION_FREE
        for key in self.key_iterator(result):
            mask = result[key] >= mask_threshold(self.point)
            result[self.mask_key] = torch.zeros_like(mask) if healthy else mask
        return result

"""Instances of an item: loaded beside their image, moved with it, and turned into a detector's targets."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from PIL import Image

from common.data.instances import boxes_of, instance_map, lesions_of, split_mask

INSTANCES, CLASSES = "instances", "instance_classes"


class LoadInstancesd(MapTransform):
    """Load the masks of an item's lesions as one map (1, H, W) under "instances", on the pixels of its loaded image.

    0 is no lesion, n + 1 is lesion n, whose class stands in "instance_classes" (N,). Give both the same geometric
    transforms, the map with mode "nearest".

    Args:
        keys: of the loaded image (1, H, W).
        classes: what is looked for (`common.data.instances.class_of`).
        parts: split masks into connected parts, which an item with one mask for all its lesions needs.
        dilation, smallest: of `common.data.instances.split_mask`.

    Raises:
        ValueError: a mask cannot be read.
    """

    def __init__(
        self,
        keys: KeysCollection,
        classes: Sequence[str],
        parts: bool = False,
        dilation: int = 0,
        smallest: int = 1,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.classes, self.parts, self.dilation, self.smallest = list(classes), parts, dilation, smallest

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key]
            shape = int(image.shape[-2]), int(image.shape[-1])
            masks: list[np.ndarray] = []
            numbers: list[int] = []
            for path, number in lesions_of({str(k): v for k, v in data.items()}, self.classes):
                mask = _read(path, shape)
                some = split_mask(mask, self.dilation, self.smallest) if self.parts else [mask]
                masks += some
                numbers += [number] * len(some)
            found = torch.from_numpy(instance_map(masks, shape))[None].float()
            meta = image.meta if isinstance(image, MetaTensor) else None
            result[INSTANCES] = MetaTensor(found, meta=meta)
            result[CLASSES] = torch.tensor(numbers, dtype=torch.int64)
        return result


def _read(path: Any, shape: tuple[int, int]) -> np.ndarray:
    """Return a mask bool (H, W) on an image's pixels, which may be fewer than its own."""
    try:
        with Image.open(path) as file:
            mask = np.asarray(file.convert("L")) > 0
    except Exception as error:
        raise ValueError(f"The mask {path} cannot be read ({error}). Prepare the data set again.") from error
    if mask.shape == shape:
        return mask
    share = cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)
    return share >= min(0.5, float(share.max()) or 1.0)  # what is smaller than a pixel keeps one


class InstanceTargetsd(MapTransform):
    """Turn the map of instances into a detector's ``target``: boxes (N, 4), labels (N,) from 1, masks (N, H, W) uint8.

    Boxes are (x1, y1, x2, y2), x along the width. Without a lesion N is 0.

    Args:
        keys: of the map (1, H, W).
        smallest: pixels; an instance that shows less of itself is left out.
        target_key: where the target goes.
    """

    def __init__(self, keys: KeysCollection = INSTANCES, smallest: int = 9, target_key: str = "target") -> None:
        super().__init__(keys)
        self.smallest, self.target_key = smallest, target_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            values, classes = torch.as_tensor(result[key])[0].round().to(torch.int64), result[CLASSES]
            boxes, numbers = boxes_of(values.cpu().numpy(), len(classes), self.smallest)
            chosen = torch.from_numpy(numbers)
            masks = (values.as_tensor() if isinstance(values, MetaTensor) else values)[None] == chosen[:, None, None]
            result[self.target_key] = {
                "boxes": torch.from_numpy(boxes),
                "labels": classes[chosen - 1] + 1,
                "masks": masks.to(torch.uint8),
            }
        return result

"""Between tensors (C, H, W) with metadata and the arrays that OpenCV and NumPy work on."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor


def picture(image: torch.Tensor) -> np.ndarray:
    """Return the (H, W) array of a grey image (1, H, W).

    Raises:
        ValueError: it has another shape.
    """
    if image.ndim != 3 or image.shape[0] != 1:
        raise ValueError(f"A mammogram is a grey image (1, H, W), not {tuple(image.shape)}.")
    return image.detach().cpu().numpy()[0]


def like(image: torch.Tensor, values: np.ndarray) -> torch.Tensor:
    """Return values as a tensor of an image's kind, with its metadata and history."""
    result = torch.as_tensor(values).to(device=image.device, dtype=image.dtype)
    if isinstance(image, MetaTensor):
        return MetaTensor(result, meta=dict(image.meta), applied_operations=list(image.applied_operations))
    return result


def renewed(image: torch.Tensor) -> torch.Tensor:
    """Return an image with the same pixels and metadata of its own, so that notes on it do not reach the input."""
    if not isinstance(image, MetaTensor):
        return image
    return MetaTensor(image.as_tensor(), meta=dict(image.meta), applied_operations=list(image.applied_operations))


def check_same_size(data: Mapping[Hashable, Any], keys: Iterable[Hashable], ref_key: Hashable) -> None:
    """Refuse masks of another size than their image.

    Raises:
        ValueError: naming the keys, the sizes and the file.
    """
    size = tuple(data[ref_key].shape[1:])
    for key in keys:
        if tuple(data[key].shape[1:]) != size:
            name = getattr(data[ref_key], "meta", {}).get("filename_or_obj", "")
            raise ValueError(
                f"'{key}' is {tuple(data[key].shape[1:])} and '{ref_key}' is {size} pixels large {name}. "
                "Bring the mask to its image's size first."
            )

"""The views of a breast in one item: each goes through the same steps, then all are one tensor."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform

from common.data.heads import heads_of

VIEW, LATERALITY, TRACES = "view", "laterality", "traces"


class TellViewd(MapTransform):
    """Write the item's ``view`` and ``laterality`` into the image's metadata where its file did not say them."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            for name in (VIEW, LATERALITY):
                result[key].meta[name] = result[key].meta.get(name) or str(result.get(name) or "")
        return result


class EachViewd(MapTransform):
    """Run each view of an item through the same transforms, and stack the results.

    Args:
        keys: a list of V paths; None is a missing view, which becomes zeros.
        transforms: for a dictionary of the image under the same key, ``view`` and ``laterality``; single ones, and
            lists of some. They end in images (1, H, W) of one size.
        keep_traces: keep each view, under "traces", so that `to_source` can go back on its way; for inference.

    Result: a plain tensor (V, H, W) float32.

    Raises:
        ValueError: no view is there, or the views end in several sizes.
    """

    def __init__(
        self,
        keys: KeysCollection,
        transforms: Sequence[Callable | Sequence[Callable]],
        keep_traces: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        steps: list[Callable] = []
        for step in transforms:
            steps += [step] if callable(step) else list(step)
        self.steps = Compose(steps)
        self.keep_traces = keep_traces

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            names = result.get("views") or [""] * len(result[key])
            images = [
                None if path is None else self._one(key, path, view, result)
                for path, view in zip(result[key], names, strict=True)
            ]
            result[key] = self._stacked(images)
            if self.keep_traces:
                result[TRACES] = images
        return result

    def _one(self, key: Hashable, path: Any, view: str, item: Mapping[Hashable, Any]) -> torch.Tensor:
        return self.steps({key: path, VIEW: view, LATERALITY: item.get(LATERALITY)})[key]

    @staticmethod
    def _stacked(images: Sequence[torch.Tensor | None]) -> torch.Tensor:
        shapes = {tuple(image.shape) for image in images if image is not None}
        if len(shapes) != 1:
            raise ValueError(f"The views of a breast end in the sizes {sorted(shapes)}: resize and pad them to one.")
        frame = torch.zeros(shapes.pop())
        plain = [frame if image is None else torch.as_tensor(image).float() for image in images]
        return torch.cat([p.as_tensor() if isinstance(p, MetaTensor) else p for p in plain])

    def to_source(self, values: torch.Tensor, trace: MetaTensor, key: Hashable = "image") -> torch.Tensor:
        """Bring values (1, H, W) on the pixels of a processed view back to those of its loaded image (1, h, w)."""
        there = MetaTensor(values, meta=dict(trace.meta), applied_operations=list(trace.applied_operations))
        return self.steps.inverse({key: there})[key]


class AsViewsd(MapTransform):
    """Turn images (V, H, W) into the network's (V, 1, H, W); views that were missing are set to 0 again."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            names = result.get("views")
            there = torch.tensor([not names or bool(name) or len(names) == 1 for name in names or result[key]])
            result[key] = torch.where(there[:, None, None, None], torch.as_tensor(result[key])[:, None], 0.0)
        return result


class HeadTargetsd(MapTransform):
    """Put the targets of all heads into one tensor (heads,) float32; NaN where the item does not say.

    Args:
        heads: see `common.data.heads`.
        target_key: where they go.
    """

    def __init__(self, heads: Sequence[Mapping[str, Any]], target_key: str = "target") -> None:
        super().__init__(target_key)
        self.heads, self.target_key = heads_of(heads), target_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        return {**data, self.target_key: torch.tensor([head.target(data.get(head.name)) for head in self.heads])}

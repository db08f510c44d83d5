"""The views of a breast in one item: each goes through the same steps, then all are one tensor."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, MapTransform

from common.data.heads import heads_of
from common.reports.errors import refusal_of

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
        keys: a list of V paths; None is a missing view, which becomes zeros (and is None among the item's "views").
        transforms: for a dictionary of the image under the same key, ``view`` and ``laterality``; single ones, and
            lists of some. They end in images (1, H, W) of one size.
        keep_traces: keep each view, under "traces", so that `to_source` can go back on its way; for inference.

        skip_bad: a view that cannot be read counts as missing, and "reasons" says why; for inference.

    Result: a plain tensor (V, H, W) float32.

    Raises:
        ValueError: no view is there, or the views end in several sizes; and whatever a bad view raises, unless others
            are left and bad ones are skipped.
    """

    def __init__(
        self,
        keys: KeysCollection,
        transforms: Sequence[Callable | Sequence[Callable]],
        keep_traces: bool = False,
        skip_bad: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        steps: list[Callable] = []
        for step in transforms:
            steps += [step] if callable(step) else list(step)
        self.steps = Compose(steps)
        self.keep_traces, self.skip_bad = keep_traces, skip_bad

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        for key in self.key_iterator(result):
            names = list(result.get("views") or [""] * len(result[key]))
            images, errors = self._all(key, result[key], names, result)
            bad = [error for error in errors if error is not None]
            if bad and (not self.skip_bad or not any(image is not None for image in images)):
                raise bad[0]
            result[key] = self._stacked(images)
            if self.skip_bad:
                result["reasons"] = [error and str(refusal_of(error) or error) for error in errors]
                result["views"] = [None if error else name for error, name in zip(errors, names, strict=True)]
            if self.keep_traces:
                result[TRACES] = images
        return result

    def _all(
        self, key: Hashable, paths: Sequence[Any], names: Sequence[str], item: Mapping[Hashable, Any]
    ) -> tuple[list[torch.Tensor | None], list[Exception | None]]:
        """Return each view's image, and each view's error."""
        images: list[torch.Tensor | None] = [None] * len(paths)
        errors: list[Exception | None] = [None] * len(paths)
        for number, (path, name) in enumerate(zip(paths, names, strict=True)):
            try:
                images[number] = None if path is None else self._one(key, path, name, item)
            except Exception as error:
                errors[number] = error
        return images, errors

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
            there = torch.tensor([not names or name is not None for name in names or result[key]])
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

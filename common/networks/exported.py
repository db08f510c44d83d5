"""A network that was exported, in the place of the one it was made of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

DETECTED = ("boxes", "labels", "scores", "masks")


class ExportedNetwork(nn.Module):
    """Run TorchScript (``.ts``) or ONNX (``.onnx``, by ONNX Runtime on the CPU).

    Args:
        path: of the file.

    Shapes:
        those of the network that was exported; for a detector a list of images in, and a list of dictionaries out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: its suffix is another.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        super().__init__()
        if not Path(path).is_file():
            raise FileNotFoundError(f"No exported network at '{path}': make one by scripts/export.py NAME.")
        suffix = Path(path).suffix
        if suffix not in (".ts", ".onnx"):
            raise ValueError(f"'{path}' ends neither in .ts nor in .onnx.")
        self.script = torch.jit.load(path, map_location="cpu") if suffix == ".ts" else None
        self.session = None if suffix == ".ts" else _session(path)

    def forward(self, images: Any) -> Any:
        if isinstance(images, torch.Tensor):
            return self._whole(images)
        if self.script is not None:
            return self.script(list(images))[1]  # a scripted detector also returns losses
        return [dict(zip(DETECTED, self._run(image), strict=True)) for image in images]

    def _whole(self, images: torch.Tensor) -> torch.Tensor:
        found = self.script(images) if self.script is not None else self._run(images)[0]
        assert isinstance(found, torch.Tensor)
        return found

    def _run(self, image: torch.Tensor) -> list[torch.Tensor]:
        assert self.session is not None
        values = torch.as_tensor(image).cpu().float().numpy()
        return [
            torch.from_numpy(value) for value in self.session.run(None, {self.session.get_inputs()[0].name: values})
        ]


def _session(path: str | os.PathLike) -> Any:
    import onnxruntime  # needed for nothing else

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

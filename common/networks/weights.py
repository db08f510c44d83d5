"""Save and load weights, and the operating point that belongs to them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from common.data.files import read_json, write_whole
from common.metrics.two_class_points import with_wish


def save(path: str | os.PathLike, content: Any) -> None:
    """Save state dicts whole or not at all.

    Raises:
        OSError: the disk is full or not writable.
    """
    buffer = BytesIO()  # writing to the file itself, torch.save would turn a full disk into an error of its own
    torch.save(content, buffer)
    write_whole(path, lambda file: file.write(buffer.getbuffer()))


def bare(network: torch.nn.Module) -> torch.nn.Module:
    """Return the network inside a distributed or averaged wrapper."""
    inner = getattr(network, "module", network)
    assert isinstance(inner, torch.nn.Module)
    return inner


def load_weights(network: torch.nn.Module, path: str | os.PathLike | None) -> torch.nn.Module:
    """Load a state dict into a network and return the network; a path of None leaves it as it is.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: the weights belong to another network, or the file is damaged.
    """
    return network if path is None else _filled(network, _read(path), path)


BACKBONE = "maps.backbone."  # where the classifiers of this collection keep theirs


def load_backbone(backbone: torch.nn.Module, path: str | os.PathLike | None) -> torch.nn.Module:
    """Load a backbone's state dict, or the backbone out of the weights of one of this collection's classifiers.

    So a classifier of mammograms can start from one of patches. What the file holds beside the backbone, such as the
    last layer of a network for ImageNet, is left out. A path of None leaves the backbone as it is.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: they are of another backbone, or the file is damaged.
    """
    if path is None:
        return backbone
    weights = _read(path)
    inner = {key.removeprefix(BACKBONE): value for key, value in weights.items() if key.startswith(BACKBONE)}
    found = inner or weights
    return _filled(backbone, {key: found[key] for key in backbone.state_dict() if key in found}, path)


def _read(path: str | os.PathLike) -> Mapping[str, torch.Tensor]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"No weights at '{path}'. Train first, or give --ckpt_dir or --weights.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"'{path}' cannot be read as weights: the file is damaged or no state dict.") from error


def _filled(network: torch.nn.Module, weights: Any, path: str | os.PathLike) -> torch.nn.Module:
    own = bare(network).state_dict()
    strange = sorted(set(own) ^ set(weights)) if isinstance(weights, Mapping) else ["(no state dict)"]
    strange += [k for k in own if not strange and own[k].shape != weights[k].shape]
    if strange:
        raise ValueError(
            f"'{path}' holds the weights of another network than {type(bare(network)).__name__} as configured: "
            f"{len(strange)} entries differ, such as {strange[0]}. Use the config and overlays it was trained with."
        )
    bare(network).load_state_dict(weights)
    return network


def operating_point_path(weights: str | os.PathLike) -> Path:
    """Return where the operating point that belongs to weights lies: beside them, with the suffix .json."""
    return Path(weights).with_suffix(".json")


def load_operating_point(weights: str | os.PathLike, wish: str | None = None) -> Mapping[str, Any]:
    """Load the operating point saved with weights.

    Args:
        weights: the file beside which it lies.
        wish: the threshold to use of those that a two-class point holds; its own by default.

    Raises:
        FileNotFoundError: there is none.
    """
    path = operating_point_path(weights)
    if not path.is_file():
        raise FileNotFoundError(
            f"No operating point at '{path}': it is written beside the weights at the end of training."
        )
    return with_wish(read_json(path), wish)

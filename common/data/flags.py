"""Switches as people type them: ``--resume true`` reaches a config as the word, not as a boolean."""

from __future__ import annotations

from typing import Any

import torch


def flag(value: Any) -> bool:
    """Return a boolean from itself or from the words true and false, in any case.

    Raises:
        ValueError: it is neither.
    """
    words = {"true": True, "false": False}
    if isinstance(value, bool):
        return value
    if str(value).lower() not in words:
        raise ValueError(f"A switch is true or false, not '{value}'.")
    return words[str(value).lower()]


def memory_format(channels_last: Any) -> torch.memory_format:
    """Return how images are laid out in memory: channels last is what convolutions on a CPU prefer."""
    return torch.channels_last if flag(channels_last) else torch.contiguous_format

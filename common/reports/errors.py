"""Run a command line, and show errors that a user can mend in one message instead of a traceback."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import fire

import common

PACKAGE = Path(common.__file__).parent
OURS = (str(PACKAGE), str(PACKAGE.parent / "scripts"))


def refusal_of(error: BaseException) -> BaseException | None:
    """Return the first refusal by this package's own checks in a chain of 'raise … from …'; None if there is none."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        if _raised_here(current):
            return current
        seen.add(id(current))
        current = current.__cause__
    return None


def _raised_here(error: BaseException) -> bool:
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    refusal = isinstance(error, ValueError | OSError)
    return refusal and last is not None and last.tb_frame.f_code.co_filename.startswith(OURS)


def show_plainly() -> None:
    """From now on end with one message where this package's own checks refuse; everything else keeps its traceback.

    ``BREAST_IMAGING_TRACEBACK=1`` keeps every traceback.
    """
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        refusal = refusal_of(error)
        if os.environ.get("BREAST_IMAGING_TRACEBACK") or refusal is None:
            previous(kind, error, trace)
            return
        sys.stderr.write(f"error: {refusal}\n")

    sys.excepthook = hook


def run_command(component: Any) -> None:
    """Run a function, or several by name, as a command line; refusals of ours end in one message."""
    show_plainly()
    fire.Fire(component, [_switch(word) for word in sys.argv[1:]])


def _switch(word: str) -> str:
    """Let ``--paired false`` be a boolean, and ``none`` or ``null`` nothing; Fire knows True, False and None only."""
    option, equals, value = word.rpartition("=")
    known = {"true": "True", "false": "False", "none": "None", "null": "None"}
    return option + equals + known.get(value, value)

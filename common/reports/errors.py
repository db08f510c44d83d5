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


def root_cause(error: BaseException) -> BaseException:
    """Return the exception that started a chain of 'raise … from …'."""
    seen = {id(error)}
    while (cause := error.__cause__) is not None and id(cause) not in seen and _ours(cause):
        seen.add(id(cause))
        error = cause
    return error


def _ours(error: BaseException) -> bool:
    """Tell whether the exception, or one that caused it, is a refusal by this package's own checks."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    refusal = isinstance(error, ValueError | OSError)
    raised_here = refusal and last is not None and last.tb_frame.f_code.co_filename.startswith(OURS)
    return raised_here or (error.__cause__ is not None and _ours(error.__cause__))


def show_plainly() -> None:
    """From now on end with one message where this package's own checks refuse; everything else keeps its traceback.

    ``BREAST_IMAGING_TRACEBACK=1`` keeps every traceback.
    """
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if os.environ.get("BREAST_IMAGING_TRACEBACK") or not _ours(error):
            previous(kind, error, trace)
            return
        sys.stderr.write(f"error: {root_cause(error)}\n")

    sys.excepthook = hook


def run_command(component: Any) -> None:
    """Run a function, or several by name, as a command line; refusals of ours end in one message."""
    show_plainly()
    fire.Fire(component, [_switch(word) for word in sys.argv[1:]])


def _switch(word: str) -> str:
    """Let ``--paired false`` be a boolean, as ``--resume true`` is one for a bundle; Fire knows True and False only."""
    option, equals, value = word.rpartition("=")
    return option + equals + value.capitalize() if value in ("true", "false") else word

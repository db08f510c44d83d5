"""Worker processes that start clean.

A forked child inherits the thread pools of OpenCV and PyTorch without their threads, and waits for them for ever;
a spawned one does not.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import cv2
from threadpoolctl import threadpool_limits


def process_pool(workers: int, initializer: Callable[..., None] | None = None, *initargs: Any) -> ProcessPoolExecutor:
    """Return a pool of ``workers`` spawned processes of one thread each; use it in a ``with`` block.

    Args:
        workers: processes.
        initializer: called once in each of them, with ``initargs``.
    """
    return ProcessPoolExecutor(workers, get_context("spawn"), _start, (initializer, initargs))


def _start(initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    """Keep a worker to one thread (small products only fight over the cores), then initialise it."""
    cv2.setNumThreads(1)
    threadpool_limits(1)
    if initializer is not None:
        initializer(*initargs)

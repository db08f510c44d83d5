"""How much memory a piece of work takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import psutil


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """Give a list whose first entry becomes the peak resident memory (MiB) beyond that at the start."""
    process, done, found = psutil.Process(), Event(), [0.0]
    before = process.memory_info().rss

    def watch() -> None:
        while not done.wait(0.02):
            found[0] = max(found[0], (process.memory_info().rss - before) / 2**20)

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()

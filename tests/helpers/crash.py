"""Work that takes its process down, importable in the workers."""

from __future__ import annotations

import os
import signal
from typing import Any


def take_the_process_down(job: dict[str, Any]) -> dict[str, Any]:
    """What a decoder that segfaults does."""
    if job["id"] == "bad":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"id": job["id"]}

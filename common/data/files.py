"""Write files whole or not at all, and fingerprint them."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

PathLike = str | os.PathLike


def write_whole(path: PathLike, write: Callable[[IO[bytes]], Any]) -> Path:
    """Write a file beside ``path`` and rename it, so that a reader never meets half of it.

    Args:
        path: the file to make; its folder is made too.
        write: called with the open binary file.

    Raises:
        OSError: the disk is full or not writable. What stood at ``path`` is left as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise OSError(
                error.errno,
                f"Could not write {path}: {error.strerror or error}. Nothing already written was changed; "
                "free some space or choose another --output_dir, then run the same command again",
            ) from error
        raise
    return path


def write_json(path: PathLike, content: Any) -> Path:
    """Write JSON, indented, whole or not at all."""
    return write_whole(path, lambda file: file.write((json.dumps(content, indent=1) + "\n").encode()))


def write_csv(path: PathLike, table: Any) -> Path:
    """Write a pandas table as CSV without its index, whole or not at all."""
    return write_whole(path, lambda file: file.write(table.to_csv(index=False).encode()))


def read_json(path: PathLike) -> Any:
    """Read JSON from a file.

    Raises:
        ValueError: the file is no JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no valid JSON ({error}). Make it again with the command that wrote it.") from error


def sha256(chunks: Iterable[bytes]) -> str:
    """Return the SHA-256 of the chunks, in hexadecimal."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()

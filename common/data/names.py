"""View and laterality out of a file's name, as DDSM, CBIS-DDSM and INbreast write them."""

from __future__ import annotations

import os
import re
from pathlib import Path

LATERALITIES = {"LEFT": "L", "RIGHT": "R", "L": "L", "R": "R"}
VIEWS = ("CC", "MLO", "ML", "LM", "LMO", "AT")


def view_and_laterality(path: str | os.PathLike) -> tuple[str | None, str | None]:
    """Return view and laterality that a file's name spells out as words of their own; None for what it does not.

    >>> view_and_laterality("Mass-Test_P_00116_RIGHT_MLO.png")
    ('MLO', 'R')
    >>> view_and_laterality("mdb001.png")
    (None, None)
    """
    words = re.split(r"[^A-Z]+", Path(path).stem.upper())
    view = next((word for word in words if word in VIEWS), None)
    return view, next((LATERALITIES[word] for word in words if word in LATERALITIES), None)

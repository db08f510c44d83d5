"""From a datalist of CBIS-DDSM to what a classifier of patches takes: some contexts, and kinds of abnormality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.data.datalist import select

KINDS = ("mass", "calcification")


def patch_items(
    datalist: Mapping[str, Any], part: str, fold: int = 0, contexts: Sequence[str] = ("large",), kinds: Any = None
) -> list[dict[str, Any]]:
    """Return the items of one part, each with a list of one image, ``malignant`` and ``kind``.

    Args:
        datalist: from `common.data.datalist.load_datalist`, of a set that scripts/prepare_cbis.py made.
        part, fold: see `common.data.datalist.select`.
        contexts: "small", "large", "crop", "background" or "whole" (the mammogram, of the kinds that lie in it).
        kinds: "mass", "calcification", or a list of both; all by default. Background has none, and stays.

    Raises:
        ValueError: nothing is left.
    """
    wanted = KINDS if kinds is None else (kinds,) if isinstance(kinds, str) else tuple(kinds)
    items = [_with_facts(item) for item in select(datalist, part, fold) if item.get("context") in contexts]
    chosen = [item for item in items if not item["kind"] or set(item["kind"].split("+")) & set(wanted)]
    if not chosen:
        there = sorted({str(item.get("context")) for item in datalist["items"]})
        raise ValueError(
            f"No item is left in part '{part}' with contexts {list(contexts)} and kinds {list(wanted)}; the datalist "
            f"holds the contexts {there}."
        )
    return chosen


def _with_facts(item: Mapping[str, Any]) -> dict[str, Any]:
    labels = [lesion["label"] for lesion in item.get("lesions", [])] or [item["label"]]
    kind = "+".join(kind for kind in KINDS if any(label.endswith(kind) for label in labels))
    path = Path(item["image"])
    facts = {"name": f"{path.parent.name}/{path.stem}", "image": [item["image"]], "kind": kind}
    return {**item, **facts, "malignant": item["label"].startswith("malignant")}

"""From a datalist to what a detector takes: whole images with their lesions, or with none."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.data.datalist import select
from common.data.instances import lesions_of
from common.data.studies import study_items

WHOLE = "whole"  # the context of a mammogram, where a datalist holds patches too


def detection_items(
    datalist: Mapping[str, Any],
    part: str,
    fold: int = 0,
    classes: Sequence[str] = ("mass",),
    negatives: bool = True,
) -> list[dict[str, Any]]:
    """Return the whole images of one part, each with a ``name``.

    Args:
        datalist: from `common.data.datalist.load_datalist`, of CBIS-DDSM or BUSI.
        part, fold: see `common.data.datalist.select`.
        classes: what is looked for (`common.data.instances.class_of`).
        negatives: keep images without any of it.

    Raises:
        ValueError: no lesion of these classes is left.
    """
    items = [item for item in select(datalist, part, fold) if item.get("context", WHOLE) == WHOLE]
    with_lesion = [bool(lesions_of(item, classes)) for item in items]
    if not any(with_lesion):
        raise ValueError(f"Part '{part}' holds no lesion of the classes {list(classes)} in {len(items)} images.")
    kept = [item for item, some in zip(items, with_lesion, strict=True) if some or negatives]
    return [{**item, "name": _name(item["image"])} for item in kept]


def _name(path: str | os.PathLike) -> str:
    return f"{Path(path).parent.name}/{Path(path).stem}"


def folder_items(folder: str | os.PathLike, output_dir: str | os.PathLike) -> list[dict[str, Any]]:
    """Return the items of a folder of mammograms, one by one (`common.data.studies.study_items`)."""
    return [{**item, "image": item["image"][0]} for item in study_items(folder, output_dir)]

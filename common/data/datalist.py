"""The datalist: what a prepared data set holds, and the gate that keeps its splits apart.

``DATASET_DIR/datalist.json`` holds name, version, licence, source, fingerprint and items. An item has
``image`` (relative to the folder, or absolute where the source is used in place), its labels, a
``patient_id`` or ``group_id``, ``split`` ("train" or "test") and ``fold``,
which is -1 for what never validates (the test set).
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from common.data.files import read_json, sha256, write_json

Item = dict[str, Any]
GROUP_KEYS = ("patient_id", "group_id")
FILE_KEYS = ("image", "mask")


class SplitLeakError(ValueError):
    """A patient or group stands in more than one split."""


def group_key(items: Sequence[Mapping[str, Any]]) -> str:
    """Return the key by which items belong together: ``patient_id`` where they have it, else ``group_id``."""
    for key in GROUP_KEYS:
        if all(item.get(key) is not None for item in items):
            return key
    raise ValueError(f"Every item of a datalist needs one of {GROUP_KEYS}, so that splits can be held apart.")


def check_split(parts: Mapping[str, Iterable[Mapping[str, Any]]]) -> None:
    """Refuse parts (such as train and validation) that share a patient or a group.

    Raises:
        SplitLeakError: naming the shared groups and the parts that they stand in.
    """
    lists = {name: list(items) for name, items in parts.items()}
    everything = [item for items in lists.values() for item in items]
    if not everything:
        return
    key = group_key(everything)
    homes: dict[str, set[str]] = defaultdict(set)
    for name, items in lists.items():
        for item in items:
            homes[str(item[key])].add(name)
    leaks = {name: sorted(where) for name, where in homes.items() if len(where) > 1}
    if leaks:
        named = "; ".join(f"{name} in {' and '.join(where)}" for name, where in list(leaks.items())[:10])
        raise SplitLeakError(
            f"{len(leaks)} {key} stand in more than one split: {named}. Scores would be inflated, so nothing is "
            "trained or evaluated. Prepare the data set again, or move each whole to one side."
        )


def fingerprint(items: Sequence[Mapping[str, Any]]) -> str:
    """Return the SHA-256 of the items, whatever folder their images lie in."""
    bare = [{**item, **{key: Path(item[key]).name for key in FILE_KEYS if item.get(key)}} for item in items]
    return sha256([json.dumps(bare, sort_keys=True).encode()])


def save_datalist(dataset_dir: str | os.PathLike, items: Sequence[Item], **facts: Any) -> Path:
    """Write ``datalist.json`` with facts (name, version, licence, source, …), fingerprint and items."""
    content = {**facts, "fingerprint": fingerprint(items), "items": list(items)}
    return write_json(Path(dataset_dir) / "datalist.json", content)


def load_datalist(dataset_dir: str | os.PathLike) -> dict[str, Any]:
    """Load and check ``dataset_dir/datalist.json``; paths of the items come back absolute.

    Raises:
        FileNotFoundError: there is no datalist, or files that it names are gone (naming the first ones).
        ValueError: the datalist is empty or not one.
        SplitLeakError: a group stands in two splits or two folds.
    """
    path = Path(dataset_dir) / "datalist.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"No datalist.json in '{dataset_dir}'. Give --dataset_dir the folder that a prepare_*.py script wrote."
        )
    datalist = read_json(path)
    if not isinstance(datalist, dict) or not datalist.get("items"):
        raise ValueError(f"{path} holds no items. Run the prepare_*.py script again.")
    datalist["items"] = [_absolute(item, Path(dataset_dir)) for item in datalist["items"]]
    _check_files(datalist["items"], path)
    check_split(by(datalist["items"], "split"))
    check_split(by([item for item in datalist["items"] if item["fold"] >= 0], "fold"))
    return datalist


def by(items: Iterable[Item], key: str) -> dict[str, list[Item]]:
    """Sort items into lists by the value of one key, each named '<key> <value>'."""
    parts: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        parts[f"{key} {item.get(key)}"].append(item)
    return parts


def _absolute(item: Item, folder: Path) -> Item:
    paths: Item = {key: str((folder / item[key]).resolve()) for key in FILE_KEYS if item.get(key)}
    if item.get("lesions"):
        paths["lesions"] = [_absolute(lesion, folder) for lesion in item["lesions"]]
    return {**item, **paths}


def _check_files(items: Sequence[Item], path: Path) -> None:
    gone = [item[key] for item in items for key in FILE_KEYS if item.get(key) and not os.path.isfile(item[key])]
    if gone:
        raise FileNotFoundError(
            f"{path} names {len(gone)} files that are gone, such as {gone[0]}. "
            "Put them back, or run the prepare_*.py script again."
        )


def folds_of(datalist: Mapping[str, Any]) -> list[int]:
    """Return the numbers of the folds that a datalist validates on."""
    return sorted({item["fold"] for item in datalist["items"] if item["fold"] >= 0})


def select(datalist: Mapping[str, Any], part: str, fold: int = 0, labels: Sequence[str] | None = None) -> list[Item]:
    """Return the items of one part of a loaded datalist.

    Args:
        datalist: from `load_datalist`.
        part: "train" (all training folds but ``fold``), "validation" (``fold``), "development" (both), "test" or "all".
        fold: the fold that validates.
        labels: keep only items with one of these labels.

    Raises:
        ValueError: there is no such part or fold, or nothing is left.
    """
    items, folds = datalist["items"], folds_of(datalist)
    if part in ("train", "validation") and fold not in folds:
        raise ValueError(f"There is no fold {fold}: this datalist has the folds {folds}. Choose one with --fold.")
    rules = {
        "train": lambda item: item["split"] == "train" and item["fold"] != fold,
        "validation": lambda item: item["split"] == "train" and item["fold"] == fold,
        "development": lambda item: item["split"] == "train",
        "test": lambda item: item["split"] == "test",
        "all": lambda item: True,
    }
    if part not in rules:
        raise ValueError(f"Unknown part '{part}': choose one of {sorted(rules)}.")
    chosen = [item for item in items if rules[part](item) and (labels is None or item["label"] in labels)]
    if not chosen:
        raise ValueError(f"No item is left in part '{part}' with labels {labels}. Prepare a larger data set.")
    return chosen


def with_predicted_masks(datalist: dict[str, Any], table: str | os.PathLike | None) -> dict[str, Any]:
    """Return the datalist with ``predicted_mask`` in each item, from a table of masks (image, mask).

    Such a table comes out of cross-validating a segmentation network, so that no mask was predicted by a
    network that had been trained on its image.

    Raises:
        FileNotFoundError: there is no such table.
        ValueError: it lacks the masks of some items.
    """
    if table is None or not Path(table).is_file():
        raise FileNotFoundError(
            f"No table of predicted masks at '{table}'. Give --predicted_masks the masks.csv that "
            "scripts/cross_validate.py wrote for a segmentation network on the same data."
        )
    masks: dict[str, str] = dict(pd.read_csv(table)[["image", "mask"]].itertuples(index=False))
    missing = [item["image"] for item in datalist["items"] if item["image"] not in masks]
    if missing:
        raise ValueError(f"{table} lacks the masks of {len(missing)} images, such as {missing[0]}. Predict them first.")
    items = [{**item, "predicted_mask": masks[item["image"]]} for item in datalist["items"]]
    return {**datalist, "items": items}

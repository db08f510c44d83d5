"""Prepare a folder in the layout of Dataset_BUSI_with_GT: masks united, duplicates grouped, splits drawn."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from common.data.datalist import load_datalist, save_datalist
from common.data.files import sha256, write_csv, write_whole
from common.data.near_duplicates import Fingerprint, find_pairs, fingerprint, group
from common.data.pixels import SUFFIXES, read_grey, read_mask
from common.data.processes import process_pool
from common.data.splits import draw_splits
from common.reports.errors import run_command

CLASSES = ("benign", "malignant", "normal")
MASK = re.compile(r"^(?P<stem>.+)_mask(_\d+)?$")
Found = tuple[str, Path, list[Path]]  # class, image, masks


def prepare_busi(
    source_dir: str,
    dataset_dir: str,
    folds: int = 5,
    seed: int = 0,
    split: str = "groups",
    keep_conflicts: bool = False,
    groups_from: str | None = None,
    workers: int = os.cpu_count() or 1,
) -> None:
    """Write DATASET_DIR/datalist.json, the united masks and rejected.csv.

    Args:
        source_dir: holds benign/, malignant/ and normal/ with "<class> (<n>).png" and its _mask.png, _mask_1.png, …
        dataset_dir: where to write; images are used in place.
        folds: cross-validation folds of the training part; a fifth of the images is held out as the test set.
        seed: of the splits.
        split: "groups" keeps near duplicates on one side; "random" does not, and is there to measure what
            that leak is worth: never report its scores as results.
        keep_conflicts: train on images whose near duplicate carries another class (never validated or tested on).
        groups_from: take the groups of this prepared folder of the same source instead of finding them again.
        workers: processes.
    """
    if split not in ("groups", "random"):
        raise ValueError(f"--split is 'groups' or 'random', not '{split}'.")
    found, rejected = find_images(Path(source_dir))
    read = _read_all(found, Path(dataset_dir), workers, rejected)
    if not read:
        raise ValueError(
            f"No image in {source_dir} could be used; the reasons: {Counter(r['reason'] for r in rejected)}"
        )
    items = [item for item, _ in read]
    _add_groups(items, [print_ for _, print_ in read], groups_from, workers)
    kept = _drop_conflicts(items, rejected, keep_conflicts)
    _add_splits(kept, folds, seed, split)
    write_csv(Path(dataset_dir) / "rejected.csv", pd.DataFrame(rejected, columns=["image", "reason"]))
    save_datalist(dataset_dir, kept, **_facts(source_dir, split, seed))
    load_datalist(dataset_dir)
    _report(items, kept, rejected, dataset_dir)


def find_images(source: Path) -> tuple[list[Found], list[dict[str, str]]]:
    """Pair every image with its masks; masks without an image are rejected.

    Raises:
        FileNotFoundError: the folder is not in the expected layout, or is empty.
    """
    folders = [source / name for name in CLASSES if (source / name).is_dir()]
    if not folders:
        raise FileNotFoundError(f"'{source}' has none of the folders {', '.join(CLASSES)} of Dataset_BUSI_with_GT.")
    found: list[Found] = []
    rejected = []
    for folder in folders:
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES)
        masks: dict[str, list[Path]] = defaultdict(list)
        for file in files:
            if match := MASK.match(file.stem):
                masks[match["stem"]].append(file)
        images = [file for file in files if not MASK.match(file.stem)]
        found += [(folder.name, file, masks.pop(file.stem, [])) for file in images]
        rejected += [_reject(file, "mask without its image") for extra in masks.values() for file in extra]
    if not found:
        raise FileNotFoundError(f"No images in '{source}'; expected files such as 'benign/benign (1).png'.")
    return found, rejected


def _reject(file: Path, reason: str) -> dict[str, str]:
    return {"image": f"{file.parent.name}/{file.name}", "reason": reason}


def unite(masks: list[Path], shape: tuple[int, int]) -> np.ndarray:
    """Return the union (H, W) bool of the masks of one image.

    Raises:
        ValueError: a mask has another size than the image.
    """
    union = np.zeros(shape, bool)
    for file in masks:
        mask = read_mask(file)
        if mask.shape != shape:
            raise ValueError(f"mask {file.name} is {mask.shape[1]}x{mask.shape[0]}, its image {shape[1]}x{shape[0]}")
        union |= mask
    return union


def _read_one(found: Found, dataset_dir: Path) -> tuple[dict[str, Any], Fingerprint]:
    label, file, masks = found
    image = read_grey(file)
    if label != "normal" and not masks:
        raise ValueError("no mask: a lesion image needs one")
    mask = unite(masks, image.shape)
    if label != "normal" and not mask.any():
        raise ValueError("empty mask: a lesion image needs a lesion")
    if label == "normal" and mask.any():
        raise ValueError("a normal image with a lesion in its mask")
    target = dataset_dir / "masks" / label / f"{file.stem}.png"
    write_whole(target, lambda out: Image.fromarray(mask).save(out, format="PNG"))
    item = {
        "image": str(file.resolve()),
        "mask": str(target.relative_to(dataset_dir)),
        "label": label,
        "pixels_sha256": sha256([image.tobytes()]),
        "masks": len(masks),
    }
    return item, fingerprint(image)


def _try_one(job: tuple[Found, Path]) -> tuple[dict[str, Any], Fingerprint] | dict[str, str]:
    found, dataset_dir = job
    try:
        return _read_one(found, dataset_dir)
    except ValueError as error:
        return _reject(found[1], str(error))


def _read_all(
    found: list[Found], dataset_dir: Path, workers: int, rejected: list[dict[str, str]]
) -> list[tuple[dict[str, Any], Fingerprint]]:
    with process_pool(workers) as pool:
        jobs = pool.map(_try_one, [(one, dataset_dir) for one in found], chunksize=8)
        results = list(tqdm(jobs, total=len(found), desc="Reading images", unit="image"))
    rejected += [result for result in results if isinstance(result, dict)]
    return [result for result in results if isinstance(result, tuple)]


def _add_groups(items: list[dict], prints: list[Fingerprint], groups_from: str | None, workers: int) -> None:
    """Add ``duplicate_group``, named after the first image in it."""
    if groups_from:
        known = {i["image"]: i["duplicate_group"] for i in load_datalist(groups_from)["items"]}
        for item in items:
            item["duplicate_group"] = known.get(item["image"], "")
        return
    names = [f"{Path(item['image']).stem}" for item in items]
    for item, first in zip(items, group(len(items), find_pairs(prints, workers, progress=True)), strict=True):
        item["duplicate_group"] = names[first]


def _drop_conflicts(items: list[dict], rejected: list[dict[str, str]], keep: bool) -> list[dict]:
    """Take out (or mark for training only) the groups whose images carry different classes."""
    classes = defaultdict(set)
    for item in items:
        classes[item["duplicate_group"]].add(item["label"])
    for item in items:
        item["conflict"] = len(classes[item["duplicate_group"]]) > 1 or not item["duplicate_group"]
    if keep:
        return items
    for item in items:
        if item["conflict"]:
            found = ", ".join(sorted(classes[item["duplicate_group"]]))
            reason = f"near duplicates of group '{item['duplicate_group']}' are labelled {found}"
            rejected.append(_reject(Path(item["image"]), reason if item["duplicate_group"] else "not in --groups_from"))
    return [item for item in items if not item["conflict"]]


def _add_splits(items: list[dict], folds: int, seed: int, split: str) -> None:
    """Add ``group_id``, ``split`` and ``fold``; conflicting images train in every fold (fold -1)."""
    for item in items:
        item["group_id"] = item["duplicate_group"] if split == "groups" else Path(item["image"]).stem
    sure = [item for item in items if not item["conflict"]]
    drawn = draw_splits([i["label"] for i in sure], [i["group_id"] for i in sure], folds, 0.2, seed)
    for item, (part, fold) in zip(sure, drawn, strict=True):
        item["split"], item["fold"] = part, fold
    for item in items:
        if item["conflict"]:
            item["split"], item["fold"] = "train", -1


def _facts(source_dir: str, split: str, seed: int) -> dict[str, Any]:
    return {
        "name": "BUSI",
        "version": "1",
        "licence": "CC BY 4.0 for Dataset_BUSI_with_GT; phantoms are free of rights",
        "source": "Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 28:104863 (2020)",
        "source_dir": str(Path(source_dir).resolve()),
        "split_rule": split,
        "seed": seed,
        "classes": list(CLASSES),
    }


def _report(items: list[dict], kept: list[dict], rejected: list[dict[str, str]], dataset_dir: str) -> None:
    sizes = Counter(item["duplicate_group"] for item in items)
    duplicated = sum(n for n in sizes.values() if n > 1)
    identical = len(items) - len({item["pixels_sha256"] for item in items})
    conflicts = sorted({item["duplicate_group"] for item in items if item["conflict"]} - {""})
    print(f"{len(items)} images read, {len(rejected)} set aside (see rejected.csv), {len(kept)} in the datalist.")
    print(f"{len(sizes)} groups; {duplicated} images have a near duplicate, {identical} repeat another to the pixel.")
    print(f"{len(conflicts)} groups with contradictory labels: {', '.join(conflicts) or 'none'}")
    table = pd.DataFrame(kept)
    table["part"] = [s if s == "test" else f"fold {f}" for s, f in zip(table["split"], table["fold"], strict=True)]
    counts = pd.crosstab(table["part"], table["label"], margins=True, margins_name="all")
    counts["groups"] = table.groupby("part")["group_id"].nunique().reindex(counts.index)
    counts.loc["all", "groups"] = table["group_id"].nunique()
    print(counts.astype(int).to_string())
    print(f"Wrote {Path(dataset_dir) / 'datalist.json'}")


if __name__ == "__main__":
    run_command(prepare_busi)

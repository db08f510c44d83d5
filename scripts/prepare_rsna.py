"""Prepare the RSNA Screening Mammography set: images read right and made smaller, patients split, bad files named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd

from common.data.datalist import save_datalist
from common.data.files import write_csv
from common.data.preparation import Journal, run_all
from common.data.rsna import facts_of, look_at_one, prepare_one, read_table
from common.data.splits import draw_splits
from common.reports.errors import run_command


def prepare_rsna(
    source_dir: str,
    dataset_dir: str,
    max_size: int | tuple[int, int] | None = 1536,
    bits: int = 16,
    exact: bool = False,
    crop: bool = False,
    in_place: bool = False,
    folds: int = 5,
    test_share: float = 0.2,
    seed: int = 0,
    workers: int = os.cpu_count() or 1,
    scheduler: str | None = None,
) -> None:
    """Write DATASET_DIR/datalist.json, images/PATIENT/IMAGE.tif and rejected.csv.

    A run that was killed goes on where it was: give the same command again.

    Args:
        source_dir: Kaggle's train.csv and train_images/PATIENT/IMAGE.dcm.
        dataset_dir: where the prepared set goes.
        max_size: pixels of the longer side, or (rows, columns) to fit into; none keeps the source's size.
        bits: 8 or 16 a pixel.
        exact: decode JPEG 2000 in full and then resize, in place of decoding only what the size needs.
        crop: keep the breast's bounding box alone, after resizing, so that all images keep one scale.
        in_place: write the datalist alone; training then reads the DICOM files themselves, each time anew.
        folds: of the training part; patients stay whole, cancers in proportion.
        test_share: of the images, held out.
        seed: of the splits.
        workers: processes, all cores by default.
        scheduler: address of a Dask scheduler (tcp://…) whose workers see the same folders, for many machines.
    """
    source, target = Path(source_dir).resolve(), Path(dataset_dir).resolve()
    table = read_table(source)
    options = {"max_size": max_size, "bits": bits, "exact": exact, "crop": crop, "in_place": in_place}
    journal = Journal(target / "journal.jsonl", _plain({**options, "source_dir": str(source)}))
    work = look_at_one if in_place else prepare_one
    run_all(work, _jobs(table, source, target, options), journal, workers, scheduler)
    items, rejected = _items(table, journal, folds, test_share, seed)
    rejected += _without_row(table, source)
    write_csv(target / "rejected.csv", pd.DataFrame(rejected, columns=["image_id", "patient_id", "reason"]))
    save_datalist(target, items, **FACTS, classes=["no cancer", "cancer"], preparation=_plain(options), seed=seed)
    _report(items, rejected, target)


FACTS = {
    "name": "RSNA Screening Mammography Breast Cancer Detection",
    "version": "2023",
    "licence": "RSNA's and Kaggle's competition rules: non-commercial use, no passing on",
    "source": "https://www.kaggle.com/competitions/rsna-breast-cancer-detection",
}


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}


def _jobs(table: pd.DataFrame, source: Path, target: Path, options: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "id": row["image_id"],
            "source": str(source / "train_images" / row["patient_id"] / f"{row['image_id']}.dcm"),
            "target": str(target / "images" / row["patient_id"] / f"{row['image_id']}.tif"),
            "laterality": row["laterality"],
            "implant": None if pd.isna(row.get("implant")) else bool(row["implant"]),
            **options,
        }
        for row in table.to_dict("records")
    ]


def _items(
    table: pd.DataFrame, journal: Journal, folds: int, test_share: float, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the datalist's items with split and fold, and the rejected files with their reasons."""
    items, rejected = [], []
    for row in table.to_dict("records"):
        record = journal.records[row["image_id"]]
        if "reason" in record:
            ids = {"image_id": row["image_id"], "patient_id": row["patient_id"]}
            rejected.append({**ids, "reason": record["reason"]})
            continue
        facts = {key: value for key, value in record.items() if key != "id"}
        label = "cancer" if row["cancer"] else "no cancer"
        image = {"image": f"images/{row['patient_id']}/{row['image_id']}.tif"}
        items.append({**image, "label": label, **facts_of(row), **facts})
    if not items:
        raise ValueError(f"None of {len(rejected)} images could be read; the first: {rejected[0]['reason']}")
    splits = draw_splits([i["label"] for i in items], [i["patient_id"] for i in items], folds, test_share, seed)
    return [{**item, "split": part, "fold": fold} for item, (part, fold) in zip(items, splits, strict=True)], rejected


def _without_row(table: pd.DataFrame, source: Path) -> list[dict[str, Any]]:
    """Return the images that lie there and that the table does not name."""
    known = set(table["patient_id"] + "/" + table["image_id"])
    found = sorted((source / "train_images").glob("*/*.dcm"))
    strangers = [path for path in found if f"{path.parent.name}/{path.stem}" not in known]
    reason = "train.csv has no row for this image: fetch both from one place"
    return [{"image_id": path.stem, "patient_id": path.parent.name, "reason": reason} for path in strangers]


def _report(items: list[dict[str, Any]], rejected: list[dict[str, Any]], target: Path) -> None:
    table = pd.DataFrame(items)
    place = table["split"].where(table["split"] == "test", "train, fold " + table["fold"].astype(str))
    counts = table.groupby(place).agg(
        images=("image", "size"), patients=("patient_id", "nunique"), cancers=("cancer", "sum")
    )
    flags = table["quality_flags"].explode().value_counts()
    print(f"{counts}\n" + "".join(f"flagged {name}: {count}\n" for name, count in flags.items()), end="")
    print(f"Wrote {len(items)} images to {target}; {len(rejected)} are set aside in rejected.csv")


if __name__ == "__main__":
    run_command(prepare_rsna)

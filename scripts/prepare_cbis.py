"""Prepare CBIS-DDSM: mask and crop told apart, abnormalities of an image united, patches cut, patients split."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.data.cbis import IMAGE_KEYS, on_both_sides, read_cases, reconcile
from common.data.cbis_files import index_cases
from common.data.cbis_images import prepare_image
from common.data.datalist import save_datalist
from common.data.files import write_csv
from common.data.preparation import Journal, run_all
from common.data.splits import draw_folds, draw_splits
from common.reports.errors import run_command

FACTS = {
    "name": "CBIS-DDSM",
    "version": "1",
    "licence": "CC BY 3.0",
    "source": "https://www.cancerimagingarchive.net/collection/cbis-ddsm/",
}
SPLITS = ("reconciled", "official", "drawn")
CLASSES = ["background", "benign mass", "malignant mass", "benign calcification", "malignant calcification"]
KINDS = {"mass": "mass", "calc": "calcification"}


def prepare_cbis(
    source_dir: str,
    dataset_dir: str,
    csv_dir: str | None = None,
    kinds: Sequence[str] = ("mass", "calc"),
    split: str = "reconciled",
    folds: int = 10,
    test_share: float = 0.2,
    max_size: int | tuple[int, int] | None = 2048,
    size: int = 224,
    stride: int | None = None,
    overlap: float = 0.5,
    surroundings: float = 0.5,
    backgrounds: int = 4,
    seed: int = 0,
    workers: int = os.cpu_count() or 1,
    scheduler: str | None = None,
) -> None:
    """Write DATASET_DIR/datalist.json, images/, masks/, patches/, cases.csv and rejected.csv.

    Items are whole mammograms (``context`` "whole") and patches ("small", "large", "crop", "background"). Every row of
    the CSV files stands in cases.csv: used, or with the reason why not. A run that was killed goes on where it was:
    give the same command again.

    Args:
        source_dir: what TCIA's downloader filled, in any of its layouts.
        dataset_dir: where the prepared set goes.
        csv_dir: of the four case descriptions; the source by default.
        kinds: mass, calc, or both.
        split: "reconciled" (the official one, patients of both sides moved to training), "official" (of one kind), or
            "drawn" (by patient, with ``test_share``; with .2 and 8 folds it is 70:20:10).
        folds: of the training part; 10 make 90:10.
        test_share: of a drawn split.
        max_size: of whole mammograms; none keeps the source's size.
        size: of patches.
        stride: of small context; half a patch by default.
        overlap: of a small patch with the abnormality.
        surroundings: of large context, a share of the abnormality's longer side.
        backgrounds: patches of each mammogram.
        seed: of splits and backgrounds.
        workers: processes, all cores by default.
        scheduler: address of a Dask scheduler.
    """
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    cases = read_cases(csv_dir or source_dir)
    cases = _with_split(cases[cases["kind"].isin(kinds)], split, folds, test_share, seed)
    target = Path(dataset_dir).resolve()
    options = {"max_size": max_size, "size": size, "stride": stride or size // 2, "overlap": overlap, "seed": seed}
    options |= {"surroundings": surroundings, "backgrounds": backgrounds}
    journal = Journal(
        target / "journal.jsonl", {**options, "source_dir": str(Path(source_dir).resolve()), "kinds": kinds}
    )
    run_all(prepare_image, _jobs(cases, index_cases(source_dir), target, options), journal, workers, scheduler)
    items, accounts = _items(cases, journal)
    write_csv(target / "cases.csv", accounts)
    write_csv(target / "rejected.csv", accounts[accounts["reason"] != ""])
    if not items:
        raise ValueError(
            f"None of {len(accounts)} rows can be used; see cases.csv. First: {accounts['reason'].iloc[0]}"
        )
    save_datalist(target, items, **FACTS, classes=CLASSES, split_rule=split, seed=seed)
    _report(items, accounts, target)


def _with_split(cases: pd.DataFrame, rule: str, folds: int, test_share: float, seed: int) -> pd.DataFrame:
    """Return the cases with ``image_id``, ``split`` and ``fold``, the same for all of a patient's."""
    if rule not in SPLITS:
        raise ValueError(f"--split is one of {SPLITS}, not '{rule}'.")
    if rule == "official" and len(on_both_sides(cases, ["patient_id"])):
        leaks = on_both_sides(cases, ["patient_id"])["patient_id"]
        raise ValueError(
            f"{len(leaks)} patients, such as {leaks.iloc[0]}, stand on both sides of the joined official splits. "
            "Take --kinds mass or --kinds calc, or --split reconciled."
        )
    split = reconcile(cases)["split"] if rule != "drawn" else "train"
    table = cases.assign(split=split, image_id=cases[IMAGE_KEYS].agg("_".join, axis=1))
    patients = table.groupby("patient_id").agg(split=("split", "first"), malignant=("malignant", "any"))
    words, names = np.asarray(patients["malignant"].astype(str)), np.asarray(patients.index)
    if rule == "drawn":
        drawn = draw_splits(words.tolist(), names.tolist(), folds, test_share, seed)
        patients = patients.assign(split=[part for part, _ in drawn], fold=[fold for _, fold in drawn])
    else:
        train = (patients["split"] == "train").to_numpy()
        patients["fold"] = -1
        patients.loc[train, "fold"] = draw_folds(words[train], names[train], folds, seed)
    return table.drop(columns="split").join(patients[["split", "fold"]], on="patient_id")


def _jobs(
    cases: pd.DataFrame, found: dict[str, list[Path]], target: Path, options: dict[str, Any]
) -> list[dict[str, Any]]:
    def files(case: str) -> list[str]:
        return [str(path) for path in found.get(case, [])]

    jobs = []
    for image_id, rows in cases.groupby("image_id"):
        whole = rows["image_path"].str.split("/").str[0].unique()
        named = [{"case": case, "files": files(case)} for case in _case_names(rows)]
        jobs.append({"id": image_id, "cases": [files(case) for case in whole], "abnormalities": named})
    return [{**job, "target": str(target), **options} for job in jobs]


def _case_names(rows: pd.DataFrame) -> list[str]:
    return rows["mask_path"].str.strip().str.split("/").str[0].tolist()


def _items(cases: pd.DataFrame, journal: Journal) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """Return the datalist's items, and what became of every row of the CSV files."""
    items, accounts = [], []
    for image_id, rows in cases.groupby("image_id"):
        record = journal.records[str(image_id)]
        first = rows.iloc[0]
        shared = {key: first[key] for key in ("patient_id", "laterality", "view", "image_id", "split")}
        shared |= {"fold": int(first["fold"]), "density": int(first["density"])}
        known = {one["case"]: one for one in record.get("abnormalities", [])}
        lesions = []
        for case, row in zip(_case_names(rows), rows.to_dict("records"), strict=True):
            one = known.get(case, {"reason": record.get("reason", "")})
            accounts.append(
                {**_account(row, case), "reason": one.get("reason", ""), "remarks": "; ".join(one.get("remarks", []))}
            )
            if "mask" in one:
                label = f"{'malignant' if row['malignant'] else 'benign'} {KINDS[str(row['kind'])]}"
                lesions.append({"mask": one["mask"], "box": one["box"], "label": label, "case": case})
                facts = {**shared, "label": label, "case": case, "pathology": row["pathology"]}
                items += [{**patch, **facts} for patch in one["patches"]]
        items += [{**patch, **shared, "label": "background"} for patch in record.get("background", [])]
        if "image" in record:
            label = "malignant" if any(one["label"].startswith("malignant") for one in lesions) else "benign"
            facts = {key: record[key] for key in ("image", "shape", "source_shape", "quality_flags")}
            items.append({**facts, **shared, "context": "whole", "label": label, "lesions": lesions})
    return items, pd.DataFrame(accounts)


def _account(row: dict[Any, Any], case: str) -> dict[str, Any]:
    keys = ("kind", "official_split", "split", "patient_id", "laterality", "view", "abnormality_id", "pathology")
    return {"case": case, **{key: row[key] for key in keys}}


def _report(items: list[dict[str, Any]], accounts: pd.DataFrame, target: Path) -> None:
    table = pd.DataFrame(items)
    place = table["split"].where(table["split"] == "test", "train")
    print(pd.crosstab([table["context"], table["label"]], place).to_string())
    used, mended = int((accounts["reason"] == "").sum()), int((accounts["remarks"] != "").sum())
    print(f"{used} of {len(accounts)} rows are used ({mended} with a remark), the others are in rejected.csv")
    print(f"Wrote {len(items)} items to {target}")


if __name__ == "__main__":
    run_command(prepare_cbis)

"""CBIS-DDSM's four case descriptions as one table, and its two official splits made one that does not leak.

The mass and the calcification sets were split into training and test apart from each other. Each is clean; joined they
are not: some patients, and even the same images, stand in the training part of one and the test part of the other.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

FILES = {
    (kind, part): f"{kind}_case_description_{name}_set.csv"
    for kind in ("mass", "calc")
    for part, name in (("train", "train"), ("test", "test"))
}
BOTH_SIDES = "both sides"  # of the joined official splits
IMAGE_KEYS = ["patient_id", "laterality", "view"]
LATERALITY = {"LEFT": "L", "RIGHT": "R"}
BENIGN = ("BENIGN", "BENIGN_WITHOUT_CALLBACK")
NAMES = {
    "left or right breast": "laterality",
    "image view": "view",
    "abnormality id": "abnormality_id",
    "abnormality type": "abnormality_type",
    "breast_density": "density",
    "breast density": "density",
    "image file path": "image_path",
    "cropped image file path": "crop_path",
    "ROI mask file path": "mask_path",
}


def read_cases(csv_dir: str | os.PathLike) -> pd.DataFrame:
    """Return a row per abnormality of the four CSV files.

    Columns: those of the files by plain names, ``kind`` (mass or calc), ``official_split`` (train or test) and
    ``malignant`` (bool).

    Raises:
        FileNotFoundError: one of the four files is missing.
        ValueError: columns are missing, or a pathology is unknown.
    """
    missing = [name for name in FILES.values() if not (Path(csv_dir) / name).is_file()]
    if missing:
        raise FileNotFoundError(f"'{csv_dir}' lacks {', '.join(missing)}. Fetch CBIS-DDSM's four CSV files from TCIA.")
    return pd.concat([_read(Path(csv_dir) / name, *key) for key, name in FILES.items()], ignore_index=True)


def _read(path: Path, kind: str, part: str) -> pd.DataFrame:
    try:
        table = pd.read_csv(path).rename(columns=NAMES)
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"{path} is empty, without even a line of columns. Download it again.") from error
    lacks = [c for c in (*IMAGE_KEYS, "abnormality_id", "pathology", "image_path", "mask_path") if c not in table]
    if lacks:
        raise ValueError(f"{path} lacks the columns {lacks}; it has {list(table.columns)}.")
    strange = sorted(set(table["pathology"]) - {*BENIGN, "MALIGNANT"})
    if strange:
        raise ValueError(f"{path} holds the pathologies {strange} (expected MALIGNANT, {', '.join(BENIGN)}).")
    paths = {name: table[name].str.strip() for name in ("image_path", "crop_path", "mask_path") if name in table}
    sides, malignant = table["laterality"].map(LATERALITY), table["pathology"] == "MALIGNANT"
    return table.assign(**paths, laterality=sides, malignant=malignant, kind=kind, official_split=part)


def reconcile(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the cases with ``split``: the official one, with patients of both sides moved whole to training.

    To training, and not to test: so a network that was trained on either official training part has seen nobody of
    the joined test part. ``moved`` tells the rows whose side changed.
    """
    sides = cases.groupby("patient_id")["official_split"].agg(lambda s: s.iloc[0] if s.nunique() == 1 else BOTH_SIDES)
    split = cases["patient_id"].map(sides).replace({BOTH_SIDES: "train"})
    return cases.assign(split=split, moved=split != cases["official_split"])


def on_both_sides(cases: pd.DataFrame, keys: list[str] | None = None) -> pd.DataFrame:
    """Return what stands on both sides of the joined official splits, with the kinds and parts that it stands in.

    Args:
        cases: from `read_cases`.
        keys: what to look at: images (patient, laterality, view) by default, or ["patient_id"].
    """
    named = cases.assign(where=cases["kind"] + " " + cases["official_split"])
    units = named.groupby(keys or IMAGE_KEYS)
    leaks = units["official_split"].nunique() > 1
    return units["where"].agg(lambda where: ", ".join(sorted(set(where))))[leaks].reset_index()

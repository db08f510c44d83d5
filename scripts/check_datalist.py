"""Report what stands where: the splits of a prepared data set, of two of them, or of CBIS-DDSM's official files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from common.data import cbis
from common.data.datalist import check_split, fingerprint, group_key, load_datalist
from common.data.files import write_csv
from common.reports.errors import run_command


def check_datalist(
    dataset_dir: str | None = None,
    compare: str | None = None,
    cbis_csv: str | None = None,
    output_dir: str | None = None,
) -> None:
    """Print counts per split and fold, and whatever stands on both sides.

    Args:
        dataset_dir: a prepared data set; a group in two splits ends in an error that names it.
        compare: another one: what would leak if a network trained on either were tested on the other.
        cbis_csv: the folder of CBIS-DDSM's four CSV files instead: their official splits joined, and made clean.
        output_dir: with --cbis_csv, where both_sides_patients.csv, both_sides_images.csv and cases.csv go.

    Raises:
        ValueError: nothing, or both a data set and CSV files, were given.
    """
    if (dataset_dir is None) == (cbis_csv is None):
        raise ValueError("Give --dataset_dir a prepared data set, or --cbis_csv the folder of CBIS-DDSM's CSV files.")
    if cbis_csv is not None:
        _report_cbis(cbis.read_cases(cbis_csv), output_dir)
        return
    assert dataset_dir is not None
    first = load_datalist(dataset_dir)
    _report(first)
    if compare is not None:
        second = load_datalist(compare)
        _report(second)
        _report_crossing(first["items"], second["items"])


def _report(datalist: Mapping[str, Any]) -> None:
    items = pd.DataFrame(datalist["items"])
    key = group_key(datalist["items"])
    place = items["split"].where(items["fold"] < 0, items["split"] + ", fold " + items["fold"].astype(str))
    counts = items.groupby([place, "label"]).size().unstack(fill_value=0)
    counts[key] = items.groupby(place)[key].nunique()
    print(f"\n{datalist['name']} {datalist.get('version', '')}: {len(items)} items, {items[key].nunique()} {key}")
    print(counts.rename_axis(index=None, columns=None))
    known = fingerprint(datalist["items"])[:12]
    print(f"fingerprint {datalist['fingerprint'][:12]}; no {key} stands in two splits or folds ({known} as loaded)")


def _report_crossing(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]]) -> None:
    """Print which images and groups one data set trains on and the other tests on."""
    tables = [pd.DataFrame(items) for items in (first, second)]
    key = group_key([*first, *second])
    for table in tables:
        table["image"] = table["image"].map(lambda path: Path(path).name)
    print(f"\nimages in both: {len(set(tables[0]['image']) & set(tables[1]['image']))}")
    for trained, tested, words in ((tables[0], tables[1], "first"), (tables[1], tables[0], "second")):
        for column in ("image", key):
            here, there = trained[column][trained["split"] == "train"], tested[column][tested["split"] == "test"]
            both = sorted(map(str, set(here) & set(there)))
            print(
                f"{column} trained on in the {words}, tested in the other: {len(both)} of {there.nunique()} {both[:5]}"
            )


def _report_cbis(cases: pd.DataFrame, output_dir: str | None) -> None:
    images, patients = cbis.on_both_sides(cases), cbis.on_both_sides(cases, ["patient_id"])
    cleaned = cbis.reconcile(cases)
    print(f"{len(cases)} abnormalities, {cases['patient_id'].nunique()} patients, official splits joined")
    print(cases.groupby(["kind", "official_split"])["patient_id"].agg(["size", "nunique"]))
    print(f"\non both sides: {len(patients)} patients, {len(images)} images")
    print(patients.to_string(index=False))
    print(f"\nmoved whole to training: {cleaned['moved'].sum()} abnormalities of {len(patients)} patients")
    print(cleaned.groupby(["split", "kind"])["patient_id"].agg(["size", "nunique"]))
    parts = {part: rows.to_dict("records") for part, rows in cleaned.groupby("split")}
    check_split({str(part): [{"patient_id": row["patient_id"]} for row in rows] for part, rows in parts.items()})
    if output_dir is not None:
        for name, table in {"both_sides_patients": patients, "both_sides_images": images, "cases": cleaned}.items():
            write_csv(Path(output_dir) / f"{name}.csv", table)
        print(f"Tables lie in {output_dir}")


if __name__ == "__main__":
    run_command(check_datalist)

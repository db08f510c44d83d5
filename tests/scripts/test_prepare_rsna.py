"""Preparing RSNA's layout: images, splits, resume, bad files, clusters, and nothing that tells who a patient is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.config import disable_value_validation

from common.data.datalist import load_datalist, select
from common.data.mammogram import read_mammogram
from common.data.preparation import Journal, run_all

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rsna")
    import_module("make_phantoms").rsna(str(folder), number=30, seed=0, cancer_share=0.2, rows=104)
    return folder


def prepare(source: Path, target: Path, **options: Any) -> dict[str, Any]:
    import_module("prepare_rsna").prepare_rsna(str(source), str(target), **{"max_size": 52, "workers": 2, **options})
    return load_datalist(target)


def copy_of(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


@pytest.fixture(scope="module")
def done(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("prepared_rsna")
    prepare(source, target)
    return target


def test_images_are_those_that_the_loader_gives(source: Path, done: Path) -> None:
    items = load_datalist(done)["items"]
    assert len(items) == 120
    for item in items[::7]:
        direct, facts = read_mammogram(source / "train_images" / item["patient_id"] / f"{item['image_id']}.dcm", 52)
        written, _ = read_mammogram(item["image"])
        np.testing.assert_allclose(written, direct, atol=1 / 65535)
        assert tuple(item["shape"]) == direct.shape and item["voi"] == facts["voi"]
        assert (item["view"], item["laterality"]) == (facts["view"], facts["laterality"])


def test_patients_are_whole_and_cancers_in_proportion(source: Path, done: Path) -> None:
    datalist = load_datalist(done)
    table = pd.DataFrame(datalist["items"])
    assert (table.groupby("patient_id")[["split", "fold"]].nunique() == 1).all(axis=None)
    assert 0.15 < (table["split"] == "test").mean() < 0.25
    truth = pd.read_csv(source / "train.csv")
    assert table["cancer"].sum() == truth["cancer"].sum()
    assert set(table.loc[table["split"] == "train", "fold"]) == set(range(5))
    assert table.groupby("fold")["cancer"].sum().drop(-1).min() > 0
    assert select(datalist, "train", 0) and select(datalist, "validation", 0)


def test_a_seed_repeats_the_splits(source: Path, done: Path, tmp_path: Path) -> None:
    again = prepare(source, tmp_path / "again", bits=8)
    first = load_datalist(done)
    assert [(i["split"], i["fold"]) for i in again["items"]] == [(i["split"], i["fold"]) for i in first["items"]]
    image, _ = read_mammogram(again["items"][0]["image"])
    np.testing.assert_allclose(image * 255, np.round(image * 255), atol=1e-4)


def test_bad_files_are_set_aside_with_the_reason(source: Path, tmp_path: Path) -> None:
    broken = copy_of(source, tmp_path / "broken")
    files = sorted(broken.rglob("*.dcm"))
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-2000])
    files[2].write_bytes(b"no DICOM at all")
    items = prepare(broken, tmp_path / "out")["items"]
    rejected = pd.read_csv(tmp_path / "out" / "rejected.csv", dtype=str).set_index("image_id")["reason"]
    assert len(items) == 117 and set(rejected.index) == {file.stem for file in files[:3]}
    assert "is gone" in rejected[files[0].stem]
    assert "cannot be read" in rejected[files[1].stem] and "cannot be read" in rejected[files[2].stem]
    for file in files[:3]:
        shutil.copy(source / file.relative_to(broken), file)
    assert len(prepare(broken, tmp_path / "out")["items"]) == 120  # fetched again, they are taken in


def test_three_hundred_damaged_files_are_images_or_have_a_reason(tmp_path: Path) -> None:
    rows = []
    for number, (kind, content) in enumerate(import_module("damage").damaged()):
        path = tmp_path / "source" / "train_images" / str(number) / f"{number}.dcm"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        rows.append({"patient_id": number, "image_id": number, "laterality": "L", "view": kind, "cancer": number % 2})
    pd.DataFrame(rows).to_csv(tmp_path / "source" / "train.csv", index=False)
    items = prepare(tmp_path / "source", tmp_path / "out")["items"]
    rejected = pd.read_csv(tmp_path / "out" / "rejected.csv")
    assert len(items) + len(rejected) == 300 and rejected["reason"].str.len().min() > 20
    assert not {item["view"] for item in items} & {"truncated", "nested", "tiny"}


def test_what_cannot_be_written_ends_the_run_and_blames_no_file(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "images").write_text("a file where a folder belongs")
    with pytest.raises(OSError, match="images"):
        prepare(source, tmp_path / "out")
    assert "reason" not in (tmp_path / "out" / "journal.jsonl").read_text()
    (tmp_path / "out" / "images").unlink()
    assert len(prepare(source, tmp_path / "out")["items"]) == 120


def test_other_options_do_not_mix_with_what_is_there(source: Path, done: Path) -> None:
    with pytest.raises(ValueError, match=r"was prepared with other options.*another --dataset_dir"):
        prepare(source, done, max_size=60)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "train.csv").unlink(), r"No train\.csv in .*as Kaggle packs them"),
        (lambda folder: (folder / "train.csv").write_text("patient_id,image_id\n1,2\n"), "lacks the columns"),
        (lambda folder: shutil.rmtree(folder / "train_images"), "None of 120 images could be read"),
    ],
    ids=["no table", "columns", "no images"],
)
def test_a_folder_that_is_not_the_set(source: Path, tmp_path: Path, change, words: str) -> None:
    folder = copy_of(source, tmp_path / "copy")
    change(folder)
    with pytest.raises((FileNotFoundError, ValueError), match=words):
        prepare(folder, tmp_path / "out")


def command(source: Path, target: Path, **options: Any) -> list[str]:
    given = {"source_dir": source, "dataset_dir": target, "max_size": 52, "workers": 1, **options}
    words = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    return [sys.executable, str(SCRIPTS / "prepare_rsna.py"), *words]


@pytest.mark.slow
def test_a_killed_run_goes_on_without_doing_things_twice(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    process = subprocess.Popen(command(source, target), start_new_session=True, stderr=subprocess.DEVNULL)
    journal = target / "journal.jsonl"
    while not journal.is_file() or len(journal.read_text().splitlines()) < 12:
        time.sleep(0.02)
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = [json.loads(line)["id"] for line in journal.read_text().splitlines()[1:-1]]
    stamps = {path: path.stat().st_mtime_ns for path in target.rglob("*.tif") if path.stem in finished}
    assert 0 < len(finished) < 120
    subprocess.run(command(source, target), check=True, capture_output=True, timeout=120)
    assert len(load_datalist(target)["items"]) == 120
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert not list(target.rglob("*.part"))


@pytest.mark.slow
def test_a_file_that_takes_a_process_down_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    work = import_module("crash").take_the_process_down
    journal = Journal(tmp_path / "journal.jsonl", {})
    run_all(work, [{"id": name} for name in ("a", "b", "bad", "c", "d", "e")], journal, workers=2)
    assert set(journal.records) == {"a", "b", "bad", "c", "d", "e"}
    assert [name for name, record in journal.records.items() if "reason" in record] == ["bad"]


@pytest.mark.slow
def test_a_scheduler_with_two_workers_of_their_own(source: Path, done: Path, tmp_path: Path) -> None:
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]
    file = tmp_path / "scheduler.json"
    processes = [subprocess.Popen([*dask, "--scheduler-file", str(file)], stderr=subprocess.DEVNULL)]
    try:
        while not file.is_file():
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
        processes += [subprocess.Popen(worker, stderr=subprocess.DEVNULL, cwd=tmp_path) for _ in range(2)]
        subprocess.run(
            command(source, tmp_path / "out", scheduler=address), check=True, capture_output=True, timeout=120
        )
    finally:
        for process in processes:
            process.terminate()
            process.wait(30)
    assert load_datalist(tmp_path / "out")["fingerprint"] == load_datalist(done)["fingerprint"]


def test_a_scheduler_that_does_not_answer(source: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        prepare(source, tmp_path / "out", scheduler="tcp://127.0.0.1:9")


def test_nothing_tells_who_a_patient_is(source: Path, tmp_path: Path) -> None:
    planted = {"PatientName": "Planted^Name", "PatientBirthDate": "19610203", "OtherPatientIDs": "PLANTED-9"}
    planted |= {"PatientID": "PLANTED" * 20, "PatientAge": "PLANTED", "StudyDate": "PLANTED"}  # odd ones are quoted
    named = copy_of(source, tmp_path / "named")
    for number, path in enumerate(sorted(named.rglob("*.dcm"))):
        dataset = pydicom.dcmread(path)
        with disable_value_validation():
            for keyword, value in planted.items():
                setattr(dataset, keyword, value)
            dataset.save_as(path)
        if number % 10 == 0:
            path.write_bytes(path.read_bytes()[:-500])
    run = subprocess.run(command(named, tmp_path / "out"), check=True, capture_output=True, timeout=120)
    written = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    for content in [run.stdout, run.stderr, *written]:
        assert not any(word in content for word in (b"Planted", b"19610203", b"PLANTED"))
    assert len(pd.read_csv(tmp_path / "out" / "rejected.csv")) == 12


def test_cropped_images_are_the_breast_alone_at_the_same_scale(source: Path, done: Path, tmp_path: Path) -> None:
    whole = {item["image_id"]: item for item in load_datalist(done)["items"]}
    cropped = prepare(source, tmp_path, crop=True)["items"]
    assert len(cropped) == len(whole)
    for item in cropped[::7]:
        full = read_mammogram(whole[item["image_id"]]["image"])[0]
        top, bottom, left, right = item["crop"]
        np.testing.assert_array_equal(read_mammogram(item["image"])[0], full[top:bottom, left:right])
    share = np.mean([np.prod(item["shape"]) / np.prod(whole[item["image_id"]]["shape"]) for item in cropped])
    assert share < 0.8


def test_implants_are_flagged_as_the_table_says_and_lateralities_agree(source: Path, done: Path) -> None:
    items = load_datalist(done)["items"]
    assert all(("implant" in item["quality_flags"]) == bool(item["implant"]) for item in items)
    assert not any("laterality_disagreement" in item["quality_flags"] for item in items)


def test_files_can_be_used_in_place(source: Path, done: Path, tmp_path: Path) -> None:
    """The same items and splits, and the same picture, from the DICOM files themselves."""
    ours, theirs = prepare(source, tmp_path, in_place=True)["items"], load_datalist(done)["items"]
    assert not (tmp_path / "images").exists()
    keys = ("image_id", "split", "fold", "cancer")
    assert [[i[key] for key in keys] for i in ours] == [[i[key] for key in keys] for i in theirs]
    item = ours[0]
    assert item["image"] == str(source / "train_images" / item["patient_id"] / f"{item['image_id']}.dcm")
    pictures = [read_mammogram(items[0]["image"], 52)[0] for items in (ours, theirs)]
    np.testing.assert_allclose(*pictures, atol=1e-4)


def test_an_image_without_a_row_is_named(source: Path, tmp_path: Path) -> None:
    copied = copy_of(source, tmp_path / "source")
    table = pd.read_csv(copied / "train.csv", dtype=str)
    table.iloc[1:].to_csv(copied / "train.csv", index=False)
    prepare(copied, tmp_path / "set", in_place=True)
    rejected = pd.read_csv(tmp_path / "set" / "rejected.csv", dtype=str).set_index("image_id")
    assert "no row for this image" in rejected.loc[table["image_id"][0], "reason"]

"""One command from DICOM to pictures, JSON, report and segmentation."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dicom_tools import content_of, errors_of
from PIL import Image
from small_bundles import SETTINGS, weights_of

from common.data.dicom.write import write_dicom
from common.data.study_phantoms import draw_mammography, draw_ultrasound

BUSI = "busi_attention_unet"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two ultrasound images beside a mammogram, a damaged file, raw data and a text."""
    folder = tmp_path / "study"
    for name, dataset, _ in draw_ultrasound(3, np.random.default_rng(1)):
        write_dicom(folder / "series_1" / f"{name}.dcm", dataset)
    _, mammogram, _ = next(draw_mammography(3, np.random.default_rng(0), rows=208))
    write_dicom(folder / "series_2" / "mammogram.dcm", mammogram)
    mammogram.PresentationIntentType, mammogram.Modality = "FOR PROCESSING", "US"
    write_dicom(folder / "series_2" / "raw.dcm", mammogram)
    whole = (folder / "series_1" / "image_1.dcm").read_bytes()
    (folder / "series_1" / "damaged.dcm").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("no image")
    return folder


def test_a_study_becomes_pictures_json_report_and_segmentation(study: Path, script, tmp_path: Path, capsys) -> None:
    script("predict").predict(str(study), BUSI, str(tmp_path / "out"))
    assert "2 results, 3 files set aside, 1 reports" in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert found["bundle"] == BUSI and "Not a medical device" in found["notice"]
    assert [row["image"] for row in found["predictions"]] == ["series_1/image_1.dcm", "series_1/image_2.dcm"]
    reasons = {row["image"]: row["reason"] for row in found["rejected"]}
    assert "modality is MG" in reasons["series_2/mammogram.dcm"] and "FOR PROCESSING" in reasons["series_2/raw.dcm"]
    assert "series_1/damaged.dcm" in reasons
    written = list((tmp_path / "out" / "dicom").rglob("*.dcm"))
    assert written and all(errors_of(path) == [] for path in written)
    with Image.open(tmp_path / "out" / "overlays" / "series_1" / "image_1.png") as picture:
        assert picture.size[0] > 200


@pytest.mark.parametrize("name", ["cbis_maskrcnn", "cbis_patch_classifier", "rsna_classifier"])
def test_a_mammography_study_becomes_a_report_of_each_bundle(name: str, script, tmp_path: Path) -> None:
    for view, dataset, _ in draw_mammography(3, np.random.default_rng(0), rows=208):
        write_dicom(tmp_path / "study" / f"{view}.dcm", dataset)
    models = weights_of(name, tmp_path / "models")
    script("predict").predict(str(tmp_path / "study"), name, str(tmp_path / "out"), models, **SETTINGS[name])
    (report,) = (tmp_path / "out" / "dicom").glob("*_sr.dcm")
    segments = list((tmp_path / "out" / "dicom").glob("*_seg.dcm"))
    assert all(errors_of(path) == [] for path in [report, *segments])
    said = content_of(report)
    assert f'"Algorithm Name")="{name}"' in said and '"CAD Operating Point")' in said
    if name == "cbis_maskrcnn":
        found = json.loads((tmp_path / "out" / "predictions.json").read_text())["detections"]["images"]
        assert said.count("(POLYLINE") == sum(len(one["outline"]) > 2 for image in found.values() for one in image)
    else:
        groups = {"cbis_patch_classifier": 4, "rsna_classifier": 2}[name]  # of each image, or of each breast
        assert said.count('"Probability of cancer")') == groups and said.count('"Source of Measurement")') == 4


def test_no_identifying_data_stand_outside_the_dicom_files(study: Path, script, tmp_path: Path, capfd) -> None:
    script("predict").predict(str(study), BUSI, str(tmp_path / "out"))
    said = capfd.readouterr()
    texts = [
        said.out + said.err,
        *(p.read_text() for p in (tmp_path / "out").rglob("*") if p.suffix in (".csv", ".json")),
    ]
    assert not [text for text in texts if "Phantom^" in text or "PHANTOM00003" in text]


def test_one_file_will_do(study: Path, script, tmp_path: Path) -> None:
    script("predict").predict(str(study / "series_1" / "image_2.dcm"), BUSI, str(tmp_path / "out"))
    assert pd.read_csv(tmp_path / "out" / "predictions.csv")["image"].tolist() == ["image_2.dcm"]


def test_a_packed_bundle_answers_as_the_bundle(study: Path, script, tmp_path: Path) -> None:
    path = script("pack_bundle").pack_bundle(BUSI, output_dir=str(tmp_path), verify=False)
    for bundle, folder in ((BUSI, "own"), (path, "packed")):
        script("predict").predict(str(study / "series_1"), bundle, str(tmp_path / folder))
    own, packed = (pd.read_csv(tmp_path / folder / "predictions.csv") for folder in ("own", "packed"))
    pd.testing.assert_frame_equal(own, packed)


def test_weights_that_are_pickles_with_code_are_refused(study: Path, script, tmp_path: Path) -> None:
    path = Path(script("pack_bundle").pack_bundle(BUSI, output_dir=str(tmp_path), verify=False))
    evil = b"cbuiltins\nexec\n(S'open(\"" + str(tmp_path / "touched").encode() + b'", "w")\'\ntR.'
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "evil.zip", "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, evil if entry.filename.endswith("model.pt") else old.read(entry))
    with pytest.raises(RuntimeError) as caught:
        script("predict").predict(str(study), str(tmp_path / "evil.zip"), str(tmp_path / "out"))
    assert "cannot be read as weights" in str(caught.getrepr(style="short", chain=True))
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("input", "bundle", "words"),
    [
        ("study", "densenet", "There is no bundle 'densenet'"),
        ("nowhere", BUSI, "There is no '"),
        ("study", "cbis_maskrcnn", "no weights"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_written(
    input: str, bundle: str, words: str, study: Path, script, tmp_path: Path
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        script("predict").predict(str(study.with_name(input)), bundle, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_study_without_a_usable_image_is_refused_with_the_reason(study: Path, script, tmp_path: Path) -> None:
    shutil.rmtree(study / "series_1")
    with pytest.raises(Exception) as caught:
        script("predict").predict(str(study), BUSI, str(tmp_path / "out"))
    assert "2 set aside" in str(caught.getrepr(style="short", chain=True))
    assert "modality is MG" in (tmp_path / "out" / "rejected.csv").read_text()

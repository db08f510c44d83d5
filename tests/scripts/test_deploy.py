"""The MONAI Deploy application, run for real on a CPU in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from dicom_tools import content_of, errors_of
from small_bundles import packed

from common.data.dicom.write import write_dicom
from common.data.study_phantoms import draw_mammography, draw_ultrasound

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python(root: Path) -> Path:
    subprocess.run(["bash", str(root / "scripts" / "deploy" / "setup.sh"), "--share"], check=True)
    return root / ".venv-deploy" / "bin" / "python"


def deploy(python: Path, study: Path, output: Path, bundle: Path) -> subprocess.CompletedProcess[str]:
    app = python.parents[2] / "scripts" / "deploy" / "app.py"
    words = ["--input", str(study), "--output", str(output), "--bundle", str(bundle)]
    variables = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(
        [str(python), str(app), *words], capture_output=True, text=True, env=variables, cwd=study.parent
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ultrasound and mammograms in series of their own, raw data, a damaged file."""
    folder = tmp_path_factory.mktemp("deployed") / "study"
    for name, dataset, _ in draw_ultrasound(3, np.random.default_rng(1)):
        write_dicom(folder / "series_1" / f"{name}.dcm", dataset)
    for name, dataset, _ in draw_mammography(3, np.random.default_rng(0), rows=208):
        write_dicom(folder / "series_2" / f"{name}.dcm", dataset)
        dataset.PresentationIntentType = "FOR PROCESSING"
        write_dicom(folder / "series_3" / f"{name}.dcm", dataset)
    whole = (folder / "series_1" / "image_1.dcm").read_bytes()
    (folder / "series_1" / "damaged.dcm").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.mark.parametrize(("name", "results"), [("busi_attention_unet", 2), ("cbis_maskrcnn", 4)])
def test_a_study_becomes_a_report(name: str, results: int, python: Path, study: Path, tmp_path: Path) -> None:
    done = deploy(python, study, tmp_path / "out", packed(name, tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{results} results" in done.stdout and "Not a medical device" in done.stdout
    assert "Phantom^" not in done.stdout + done.stderr and "PHANTOM0" not in done.stdout + done.stderr
    found = json.loads((tmp_path / "out" / "predictions.json").read_text())
    reasons = {row["image"]: row["reason"] for row in found["rejected"]}
    assert "series_1/damaged.dcm" in reasons and "modality" in " ".join(reasons.values())
    written = list((tmp_path / "out" / "dicom").rglob("*.dcm"))
    assert written and all(errors_of(path) == [] for path in written)
    assert f'"Algorithm Name")="{name}"' in content_of(tmp_path / "out" / "dicom" / found["reports"][0])


def test_a_study_without_a_usable_image_is_refused(python: Path, study: Path, tmp_path: Path) -> None:
    done = deploy(python, study / "series_3", tmp_path / "out", packed("busi_attention_unet", tmp_path))
    assert done.returncode == 1 and "4 set aside" in done.stderr
    assert {path.name for path in (tmp_path / "out").rglob("*")} == {"rejected.csv"}

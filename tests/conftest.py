"""Phantom data sets, real images where they lie at REAL_DATA_DIR, and one MLflow store for all tests."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage, generate_uid

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def script():
    return import_module  # scripts/ is on pytest's path, and so on that of spawned workers


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session", autouse=True)
def one_store(tmp_path_factory: pytest.TempPathFactory):
    """Keep every test's MLflow runs in one SQLite store, away from the user's."""
    folder = tmp_path_factory.mktemp("mlflow")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    home = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(home)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images; tests that use it have a twin on phantoms."""
    folder = os.environ.get("REAL_DATA_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("REAL_DATA_DIR names no folder of real images")
    return Path(folder)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 ultrasound phantoms in BUSI's layout."""
    folder = tmp_path_factory.mktemp("phantoms")
    import_module("make_phantoms").busi(str(folder), number=60, seed=0)
    return folder


@pytest.fixture(scope="session")
def prepared(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantoms prepared: masks, groups, splits."""
    folder = tmp_path_factory.mktemp("prepared")
    import_module("prepare_busi").prepare_busi(str(phantoms), str(folder), workers=2)
    return folder


@pytest.fixture(scope="session")
def rsna_phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """28 patients' mammogram phantoms in the RSNA set's layout, many with cancer."""
    folder = tmp_path_factory.mktemp("rsna_phantoms")
    import_module("make_phantoms").rsna(str(folder), number=28, seed=3, cancer_share=0.2, rows=104)
    return folder


@pytest.fixture(scope="session")
def rsna_prepared(rsna_phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mammogram phantoms prepared: smaller, with splits."""
    folder = tmp_path_factory.mktemp("rsna_prepared")
    import_module("prepare_rsna").prepare_rsna(str(rsna_phantoms), str(folder), folds=2, test_share=0.25, workers=2)
    return folder


@pytest.fixture(scope="session")
def cbis_phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 patients' phantoms in the layout of TCIA's download of CBIS-DDSM."""
    folder = tmp_path_factory.mktemp("cbis_phantoms")
    import_module("make_phantoms").cbis(str(folder), number=24, seed=0, rows=256)
    return folder


@pytest.fixture(scope="session")
def cbis_prepared(cbis_phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantoms of CBIS-DDSM prepared: patches of 64 pixels, three folds."""
    folder = tmp_path_factory.mktemp("cbis_prepared")
    options = {"size": 64, "max_size": 128, "folds": 3, "backgrounds": 2, "workers": 2}
    import_module("prepare_cbis").prepare_cbis(str(cbis_phantoms), str(folder), **options)
    return folder


def _write_ultrasound(path: Path, values: np.ndarray, photometric: str = "MONOCHROME2", frames: int = 1) -> Path:
    """Write pixels as an ultrasound DICOM file."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = UltrasoundImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SOPClassUID, dataset.Modality = UltrasoundImageStorage, "US"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.Rows, dataset.Columns = values.shape[:2] if frames == 1 else values.shape[1:3]
    dataset.SamplesPerPixel = values.shape[2] if values.ndim == 3 and frames == 1 else 1
    if dataset.SamplesPerPixel > 1:
        dataset.PlanarConfiguration = 0
    if frames > 1:
        dataset.NumberOfFrames = frames
    dataset.PhotometricInterpretation = photometric
    dataset.BitsAllocated = dataset.BitsStored = 8 * values.dtype.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.PixelData = values.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture(scope="session")
def write_ultrasound():
    return _write_ultrasound

"""Measure speed as ratios of things that run in turn in one process, with the absolute figures beside them."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import pydicom
import torch
from monai.transforms import Compose, RandAffined, RandCoarseDropoutd, RandFlipd
from PIL import Image
from pydicom import uid
from pydicom.encaps import generate_frames
from tqdm import tqdm

from common.data.breast import breast_mask
from common.data.cbis_files import index_cases
from common.data.cbis_images import prepare_image
from common.data.cbis_phantoms import draw_cases, write_case
from common.data.dicom.stored import stored_values
from common.data.dicom.write import grey_dataset, write_dicom
from common.data.mammogram import read_mammogram, write_mammogram
from common.data.mammogram_phantoms import DENSITIES, VIEWS, Breast, draw_mammogram
from common.data.pectoral import find_pectoral
from common.data.study_phantoms import draw_mammography, draw_ultrasound
from common.networks.patch_classifier import PatchClassifier
from common.networks.weights import load_weights
from common.reports import detection_speed, prediction_speed, sliding_speed, training_speed
from common.reports.errors import run_command
from common.transforms.dicom import LoadMammogramd
from common.transforms.intensity import RandBrightnessContrastd
from common.transforms.untracked import UntrackedCompose
from common.transforms.warp import RandWarpd


def busi(dataset_dir: str, epochs: int = 7, image_size: int = 128, threads: int | None = None) -> None:
    """Compare training through the bundle with a bare PyTorch loop, epoch by epoch in turn.

    Args:
        dataset_dir: a prepared data set.
        epochs: of each arm; the first is left out of the medians.
        image_size: pixels.
        threads: of torch, all cores by default.
    """
    if threads:
        torch.set_num_threads(threads)
    given = {"dataset_dir": dataset_dir, "epochs": epochs, "image_size": [image_size] * 2}
    print(training_speed.describe(*training_speed.compare_training("busi_attention_unet", **given)))


def rsna(
    dataset_dir: str,
    epochs: int = 5,
    image_size: tuple[int, int] = (192, 120),
    backbone: str = "resnet18",
    batch_size: int = 8,
    threads: int | None = None,
) -> None:
    """Compare training through the bundle with a bare timm and PyTorch loop, and time the way to the first step.

    Args:
        dataset_dir: a prepared data set.
        epochs: of each arm; the first is left out of the medians.
        image_size: rows and columns.
        backbone: timm's name.
        batch_size: breasts.
        threads: of torch, all cores by default.
    """
    if threads:
        torch.set_num_threads(threads)
    given = {"dataset_dir": dataset_dir, "epochs": epochs, "image_size": list(image_size), "backbone": backbone}
    given |= {"batch_size": batch_size, "pretrained": False, "cache_rate": 1.0}
    print(training_speed.describe(*training_speed.compare_training("rsna_classifier", **given)))
    seconds = training_speed.seconds_to_first_step("rsna_classifier", **{**given, "cache_rate": 0.0})
    print(f"from python -m monai.bundle to the first step: {seconds:.1f} s")


def maskrcnn(
    dataset_dir: str,
    epochs: int = 4,
    image_size: int = 256,
    backbone: str = "resnet18",
    batch_size: int = 4,
    mammograms: int = 3,
    rows: int = 3328,
    threads: int | None = None,
) -> None:
    """Compare the detector's training and inference with torchvision's own way, and read whole mammograms.

    Args:
        dataset_dir: a prepared data set.
        epochs: of each arm; the first is left out of the medians.
        image_size: pixels; whole images are made this large, so that both ways read the same.
        backbone: torchvision's name.
        batch_size: images.
        mammograms: phantoms that are read whole, tile by tile, as `inference.json` does.
        rows: of such a phantom; it has 10 columns for 13 rows.
        threads: of torch, all cores by default.
    """
    if threads:
        torch.set_num_threads(threads)
    network: dict[str, Any] = {"backbone": backbone, "norm": "batch"}
    size = {"image_size": [image_size] * 2, "whole_size": [image_size] * 2, "tile": None, "sample": [], "stages": None}
    given = {**network, **size, "dataset_dir": dataset_dir, "pretrained": False, "cache_rate": 1.0, "num_workers": 0}
    given |= {"epochs": epochs, "batch_size": batch_size}
    print(training_speed.describe(*training_speed.compare_training("cbis_maskrcnn", **given)))
    rates = detection_speed.compare_inference(epochs, **given)
    print("".join(f"inference, {name:<12} {rate:7.2f} images/s\n" for name, rate in rates.items()), end="")
    print(f"bundle / torchvision            {rates['bundle'] / rates['torchvision']:.3f}   (asked: 0.95 or more)")
    with tempfile.TemporaryDirectory() as folder:
        _phantoms(Path(folder) / "images", uid.JPEG2000Lossless, mammograms, rows)
        seconds, peak = detection_speed.measure_whole(
            Path(folder) / "images",
            Path(folder) / "results",
            weights=None,
            operating_point={"score_threshold": 0.5},
            **network,
        )
    print(f"a whole mammogram of {rows} rows, DICOM to overlay: {seconds:.1f} s, at most {peak:.0f} MiB more memory")


def predict(rows: int = 3328, bundles: str | None = None, threads: int | None = None) -> None:
    """Time a phantom study from DICOM to report with each bundle: cold, in a process of its own, and warm.

    Ultrasound: two images; mammography: four views. Networks have their full size, and random weights where a bundle
    brings none.

    Args:
        rows: of a mammogram; it has 10 columns for 13 rows.
        bundles: names, joined by commas; all by default.
        threads: of torch in this process, all cores by default.
    """
    if threads:
        torch.set_num_threads(threads)
    names = (
        bundles.split(",") if isinstance(bundles, str) else bundles or [*prediction_speed.POINTS, "busi_attention_unet"]
    )
    speeds = {}
    with tempfile.TemporaryDirectory() as name:
        folder, rng = Path(name), np.random.default_rng(0)
        for kind, drawn in (("MG", draw_mammography(1, rng, rows)), ("US", draw_ultrasound(1, rng))):
            for view, dataset, _ in drawn:
                write_dicom(folder / kind / f"{view}.dcm", dataset)
        for bundle in tqdm(names, desc="Predicting", unit="bundle"):
            study = folder / ("US" if bundle == "busi_attention_unet" else "MG")
            weights = prediction_speed.random_weights(bundle, folder / bundle / "models")
            speeds[bundle] = prediction_speed.measure_prediction(bundle, study, weights, folder / bundle)
    print(prediction_speed.describe(speeds))


SYNTAXES = {
    "JPEG 2000 lossless": uid.JPEG2000Lossless,
    "JPEG lossless": uid.JPEGLosslessSV1,
    "uncompressed": uid.ExplicitVRLittleEndian,
}
RSNA_IMAGES = 54_706
Arms = dict[str, Callable[[Path], object]]


def prepare(files: int = 6, rows: int = 3328, rounds: int = 3, memory_images: tuple[int, ...] = (200, 2000)) -> None:
    """Compare preparing mammograms at 1/4 size with the papers' way and with bare decoding, file by file in turn.

    On one core, per transfer syntax: ours (16-bit TIFF); the papers' way with pydicom and with dicomsdl (full decode,
    min-max, OpenCV's resize to 1/4, 8-bit PNG); the decode alone (JPEG 2000: at 1/4 size). Then how long a training
    loads the results, and how much memory a worker takes.

    Args:
        files: phantoms per transfer syntax.
        rows: of a phantom; it has 10 columns for 13 rows.
        rounds: of every arm on every file; the median counts.
        memory_images: how many images one worker prepares while its peak memory is taken.
    """
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label, syntax in SYNTAXES.items():
            paths = _phantoms(folder / label, syntax, files, rows)
            _report_preparation(label, _interleaved(_arms(folder, rows // 4), paths, rounds))
        _report_loading(folder, rows // 4, rounds)
        for number in memory_images:
            print(
                f"peak memory of a worker above the import's, {number} images: {_peak(folder, number, rows // 4)} MiB"
            )


def cbis(
    backbone: str = "mobilenetv2_100",
    rows: int = 4144,
    columns: int = 2600,
    stride: int = 64,
    batch_size: int = 32,
    rounds: int = 2,
    weights: str | None = None,
    images: int = 3,
) -> None:
    """Time the extraction of patches, and a window that slides over a mammogram against a loop over patches.

    Args:
        backbone: timm's name of it; the head averages its maps.
        rows, columns: of the mammogram.
        stride, batch_size: of all arms.
        rounds: all arms in turn in each.
        weights: of a trained network with one class, where the differences are to mean something; random otherwise.
        images: mammograms that patches are cut from.
    """
    with tempfile.TemporaryDirectory() as folder:
        _report_extraction(Path(folder), images, (rows, columns))
    torch.manual_seed(0)
    network = PatchClassifier(backbone, 1, pretrained=False)
    drawn = draw_mammogram(Breast("L", "B", 0.7, "mass"), "MLO", (rows, columns), np.random.default_rng(0))
    image = (torch.from_numpy(drawn.picture)[None, None] - 0.449) / 0.226
    inside = torch.from_numpy(drawn.breast)[None, None]
    if weights:
        load_weights(network, weights).eval()
    else:
        sliding_speed.enliven(network, image)
    found = sliding_speed.measure_sliding(network, image, inside, stride, batch_size, rounds)
    print(f"\n{backbone}, {rows} x {columns}, stride {stride}: {sliding_speed.describe(found)}")


def _report_extraction(folder: Path, images: int, shape: tuple[int, int]) -> None:
    """Prepare mammograms one by one, on one core."""
    rng, jobs = np.random.default_rng(0), []
    for case in list(draw_cases(images, rng))[:images]:
        list(write_case(case, folder / "source", shape, rng))
    found = index_cases(folder / "source")
    options = {"target": str(folder), "max_size": None, "size": 224, "stride": 112, "overlap": 0.5, "seed": 0}
    options |= {"surroundings": 0.5, "backgrounds": 4}
    for name in [name for name in found if not name.rpartition("_")[2].isdigit()]:
        lesions = [{"case": case, "files": files} for case, files in found.items() if case.startswith(f"{name}_")]
        jobs.append({"id": name, "cases": [found[name]], "abnormalities": lesions, **options})
    patches, taken, reading = 0, 0.0, 0.0
    for job in tqdm(jobs, desc="Cutting patches", unit="image"):
        begin = time.perf_counter()
        read_mammogram(job["cases"][0][0])
        middle = time.perf_counter()
        record = prepare_image(job)
        taken, reading = taken + time.perf_counter() - middle, reading + middle - begin
        patches += len(record["background"]) + sum(len(one["patches"]) for one in record["abnormalities"])
    print(f"{patches} patches of {len(jobs)} mammograms of {shape[0]} x {shape[1]}:")
    print(f"  {patches / taken:.1f} patches per second and core")
    print(f"  {taken / len(jobs):.2f} s a mammogram, of which reading it takes {reading / taken:.0%}")


def _phantoms(folder: Path, syntax: str, files: int, rows: int) -> list[Path]:
    shape, made = (rows, rows * 10 // 13), []
    for number in range(files):
        rng = np.random.default_rng(number)
        breast = Breast("LR"[number % 2], DENSITIES[number % 4], 0.6, None)
        stored = np.round(draw_mammogram(breast, VIEWS[number // 2 % 2], shape, rng).picture * 4095).astype(int)
        dataset = grey_dataset(stored, 12, syntax, WindowCenter=2048, WindowWidth=4096)
        made.append(write_dicom(folder / f"{number}.dcm", dataset))
    return made


def _arms(folder: Path, size: int) -> Arms:
    """Return ours, the papers' way with two decoders, and the decode alone."""
    import dicomsdl  # compared with, and needed for nothing else

    def papers(values: np.ndarray, path: Path) -> None:
        grey = (values - values.min()) / (values.max() - values.min())
        small = cv2.resize(grey, (values.shape[1] // 4, values.shape[0] // 4))
        cv2.imwrite(str(folder / "theirs" / f"{path.stem}.png"), (small * 255).astype(np.uint8))

    def decode(path: Path) -> object:
        dataset = pydicom.dcmread(path)
        if dataset.file_meta.TransferSyntaxUID != uid.JPEG2000Lossless:
            return stored_values(dataset)
        with Image.open(BytesIO(next(generate_frames(dataset.PixelData, number_of_frames=1)))) as image:
            image.reduce = 2  # type: ignore[assignment, method-assign]  # of Pillow's JPEG 2000 reader
            return image.load()

    (folder / "theirs").mkdir(exist_ok=True)
    return {
        "ours": lambda path: write_mammogram(folder / "ours" / f"{path.stem}.tif", read_mammogram(path, size)[0]),
        "papers, pydicom": lambda path: papers(pydicom.dcmread(path).pixel_array, path),
        "papers, dicomsdl": lambda path: papers(dicomsdl.open(str(path)).pixelData(storedvalue=True), path),
        "decode alone": decode,
    }


def _interleaved(arms: Arms, paths: list[Path], rounds: int) -> dict[str, float]:
    """Return the median seconds of each arm, all arms on a file before the next."""
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for path in [path for _ in range(rounds) for path in paths]:
        for name, arm in arms.items():
            begin = time.perf_counter()
            arm(path)
            taken[name].append(time.perf_counter() - begin)
    return {name: median(seconds) for name, seconds in taken.items()}


def _report_preparation(label: str, seconds: dict[str, float]) -> None:
    ours = seconds["ours"]
    print(f"\n{label:<20} ms an image   times ours   {RSNA_IMAGES} images: 1 core    16 cores   128 cores")
    for name, value in seconds.items():
        hours = "".join(f"{RSNA_IMAGES * value / cores / 60:8.1f} min" for cores in (1, 16, 128))
        print(f"  {name:<18} {1000 * value:10.1f} {value / ours:12.2f}                {hours}")


def _report_loading(folder: Path, size: int, rounds: int) -> None:
    """Compare what a training loads and augments: the same images written with 16 and with 8 bits."""
    images = [read_mammogram(path)[0] for path in sorted((folder / "ours").glob("*.tif"))]
    for bits in (8, 16):
        for number, image in enumerate(images):
            write_mammogram(folder / f"{bits}" / f"{number}.tif", image, bits)
    augment = Compose(
        [LoadMammogramd("image"), RandFlipd("image", 0.5, 1), RandAffined("image", prob=1.0, rotate_range=0.2)]
    )

    def sixteen(path: Path) -> Path:
        return folder / "16" / path.name

    arms: Arms = {
        "file alone, 8 bit": read_mammogram,
        "file alone, 16 bit": lambda path: read_mammogram(sixteen(path)),
        "loaded and augmented, 8 bit": lambda path: augment({"image": path}),
        "loaded and augmented, 16 bit": lambda path: augment({"image": sixteen(path)}),
    }
    seconds = _interleaved(arms, sorted((folder / "8").glob("*.tif")), 20 * rounds)
    print(f"\nloading an image of {size} rows")
    for name, value in seconds.items():
        print(
            f"  {name:<30} {1000 * value:6.2f} ms, {value / seconds[name.replace('16 bit', '8 bit')]:.2f} times 8 bit"
        )


def _peak(folder: Path, number: int, size: int) -> int:
    """Return the peak memory (MiB) that a fresh process takes beyond its imports for preparing ``number`` images."""
    code = (
        "import sys; from itertools import cycle, islice; from pathlib import Path; "
        "from common.data.rsna import prepare_one; "
        "status = lambda: Path('/proc/self/status').read_text().split('VmHWM:')[1]; "
        "peak = lambda: int(status().split()[0]) // 1024; before = peak(); "
        "files = islice(cycle(sorted(Path(sys.argv[1]).glob('*/*.dcm'))), int(sys.argv[2])); "
        "[prepare_one({'id': '', 'source': f, 'target': sys.argv[1] + '/peak.tif', 'max_size': int(sys.argv[3]), "
        "'bits': 16, 'exact': False, 'crop': False, 'laterality': None, 'implant': None}) for f in files]; "
        "print(peak() - before)"
    )
    words = [sys.executable, "-c", code, str(folder), str(number), str(size)]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def transforms(images: int = 200, rows: int = 1536, columns: int = 960, seed: int = 0) -> None:
    """Compare the augmentation of `gatech_augmentations` with the paper's Albumentations recipe, image by image.

    On one core: ours on a grey float image, as the networks take it; the paper's on an 8-bit image of three equal
    channels, as it feeds its networks, and on one channel. Then breast mask and pectoral muscle at 1/4 of a mammogram's
    size, beside decoding it.

    Args:
        images: how many times each arm augments.
        rows: of the image.
        columns: of the image.
        seed: of all draws.
    """
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    breast = Breast("L", "C", 0.7, None)
    picture = draw_mammogram(breast, "MLO", (rows, columns), np.random.default_rng(seed)).picture
    words, image = np.round(picture * 255).astype(np.uint8), torch.from_numpy(picture)[None]
    ours, theirs = UntrackedCompose(_augmentations()), _paper_augmentations()
    ours.set_random_state(seed)
    random.seed(seed)  # Albumentations draws from both
    np.random.seed(seed)  # noqa: NPY002
    three = np.repeat(words[..., None], 3, 2)
    rates = _in_turn(
        {
            "ours": lambda: ours({"image": image}),
            "papers, three channels": lambda: theirs(image=three),
            "papers, one channel": lambda: theirs(image=words),
        },
        images,
    )
    _report_ratio(f"augmentation at {rows}x{columns}, mean of {images}", rates)
    with tempfile.TemporaryDirectory() as folder:
        path = _phantoms(Path(folder), uid.JPEG2000Lossless, 2, 3328)[1]
        quarter = read_mammogram(path, 832)[0]
        anatomy = {
            "breast and pectoral": lambda: find_pectoral(quarter, "MLO", None, breast_mask(quarter)),
            "decoding at 1/4 size": lambda: read_mammogram(path, 832),
        }
        _report_ratio(f"anatomy at {quarter.shape[0]}x{quarter.shape[1]}", _in_turn(anatomy, images))


def _augmentations() -> list[Any]:
    """Return what the experiment gatech_augmentations does to an image."""
    holes: dict[str, Any] = {"holes": 8, "spatial_size": 5, "fill_value": 0.0}
    change: dict[str, Any] = {"prob": 0.75, "flip_prob": (0.5, 0.5), "rotate": 15, "scale": (0.8, 1.2), "shift": 0.01}
    return [
        RandWarpd("image", distort_prob=0.2, **change),
        RandBrightnessContrastd("image", prob=0.5),
        RandCoarseDropoutd("image", prob=0.5, **holes),
        RandCoarseDropoutd("image", prob=0.7, **holes),
    ]


def _paper_augmentations() -> Any:
    """Return the paper's recipe in the library and of the time that it was written with."""
    import albumentations as A  # compared with, and needed for nothing else

    warnings.simplefilter("ignore")
    return A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.VerticalFlip(p=0.5),
            A.ShiftScaleRotate(shift_limit=0.01, scale_limit=0.03, rotate_limit=15, p=0.5),
            A.RandomBrightnessContrast(p=0.5),
            A.OneOf([A.OpticalDistortion(), A.GridDistortion(), A.PiecewiseAffine()], p=0.2),
            A.Affine(scale=(0.8, 1.2), p=0.5),
            A.CoarseDropout(max_holes=8, max_height=5, max_width=5, p=0.5),
            A.Cutout(num_holes=8, max_h_size=5, max_w_size=5, p=0.7),
        ]
    )


def _in_turn(arms: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the mean seconds of each arm, one call of each in turn; what is drawn at random has no typical call."""
    taken = dict.fromkeys(arms, 0.0)
    for arm in arms.values():
        arm()
    for name in [name for _ in range(rounds) for name in arms]:
        begin = time.perf_counter()
        arms[name]()
        taken[name] += time.perf_counter() - begin
    return {name: seconds / rounds for name, seconds in taken.items()}


def _report_ratio(title: str, seconds: dict[str, float]) -> None:
    print(f"\n{title}")
    first = next(iter(seconds.values()))
    for name, value in seconds.items():
        print(f"  {name:<24} {1000 * value:8.1f} ms  {value / first:6.2f} times the first")


if __name__ == "__main__":
    verbs = {"busi": busi, "rsna": rsna, "cbis": cbis, "maskrcnn": maskrcnn, "predict": predict}
    run_command({**verbs, "prepare": prepare, "transforms": transforms})

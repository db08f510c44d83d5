"""Make phantom data sets in the layouts of the real ones, to try and to test the software without anybody's data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from common.data.cbis import FILES
from common.data.cbis_phantoms import draw_cases, write_case
from common.data.dicom.write import write_dicom
from common.data.files import write_csv, write_whole
from common.data.rsna_phantoms import COLUMNS, draw_studies
from common.data.ultrasound_phantoms import CLASSES, SHARES, draw_scene, duplicate, scan
from common.reports.errors import run_command


def busi(output_dir: str, number: int = 240, seed: int = 0) -> None:
    """Make ultrasound phantoms in the layout and file modes of Dataset_BUSI_with_GT.

    One image in eight is a near duplicate of another, one lesion image in fifteen has two lesions with a mask
    each. Images are grey or RGB PNG; masks have the modes 1, RGB and RGBA.

    Args:
        output_dir: where benign/, malignant/ and normal/ go.
        number: of images.
        seed: the same seed gives the same images.
    """
    rng = np.random.default_rng(seed)
    labels = rng.choice(CLASSES, size=number, p=SHARES)
    counts = dict.fromkeys(CLASSES, 0)
    scene, picture = None, np.empty(0)
    for label in tqdm(labels, desc="Making phantoms", unit="image"):
        if scene is not None and rng.random() < 1 / 8:
            label, (picture, masks) = scene.label, duplicate(scene, picture, rng)
            scene = None
        else:
            scene = draw_scene(str(label), rng, lesions=2 if rng.random() < 1 / 15 else 1)
            picture, masks = scan(scene, rng, calipers=bool(rng.random() < 0.3)), scene.masks
        counts[str(label)] += 1
        _save(Path(output_dir) / str(label), f"{label} ({counts[str(label)]})", picture, masks, rng)
    print(f"Wrote {number} phantom images to {output_dir}: {counts}")


def rsna(
    output_dir: str,
    number: int = 40,
    seed: int = 0,
    cancer_share: float = 0.02,
    rows: int = 1024,
    scale: float = 1.0,
) -> None:
    """Make mammogram phantoms in the layout of the RSNA screening set: train.csv and train_images/PATIENT/IMAGE.dcm.

    Both views of both breasts; six machines with a transfer syntax, polarity, window and padding each.

    Args:
        output_dir: where they go.
        number: of patients; each has four images.
        seed: the same seed gives the same images.
        cancer_share: of the images (.02 in life).
        rows: of an image (3328 in life); it has 10 columns for 13 rows.
        scale: of the findings, above 1 for images of so few rows that they would hardly show.
    """
    shape, table = (rows, rows * 10 // 13), []
    studies = draw_studies(number, cancer_share, shape, seed, scale)
    for row, dataset in tqdm(studies, total=4 * number, desc="Making phantoms", unit="image"):
        name = f"{row['patient_id']}/{row['image_id']}.dcm"
        write_dicom(Path(output_dir) / "train_images" / name, dataset)
        table.append(row)
    write_csv(Path(output_dir) / "train.csv", pd.DataFrame(table, columns=list(COLUMNS)))
    cancers = sum(row["cancer"] for row in table)
    print(f"Wrote {len(table)} phantom images of {number} patients to {output_dir}, {cancers} of them with cancer")


def cbis(output_dir: str, number: int = 40, seed: int = 0, rows: int = 1024, scale: float = 1.0) -> None:
    """Make mammogram phantoms in the layout of CBIS-DDSM: four CSV files, and a folder for each case.

    Both views of a breast of each patient; swapped files, masks of another size, several abnormalities in an image, and
    patients on both sides of the official splits.

    Args:
        output_dir: where they go.
        number: of patients.
        seed: the same seed gives the same images.
        rows: of an image (4000 to 6000 in life); it has 10 columns for 16 rows.
        scale: of the findings, above 1 for images of so few rows that they would hardly show.
    """
    rng, tables = np.random.default_rng(seed), {key: [] for key in FILES}  # type: ignore[var-annotated]
    for case in tqdm(list(draw_cases(number, rng, scale)), desc="Making phantoms", unit="case"):
        tables[case.kind, case.part] += write_case(case, Path(output_dir), (rows, rows * 10 // 16), rng)
    columns = next(list(lines[0]) for lines in tables.values() if lines)  # of few patients none may be in a part
    for key, lines in tables.items():
        write_csv(Path(output_dir) / FILES[key], pd.DataFrame(lines, columns=None if lines else columns))
    print(f"Wrote {sum(map(len, tables.values()))} phantom abnormalities of {number} patients to {output_dir}")


def _save(folder: Path, name: str, picture: np.ndarray, masks: list[np.ndarray], rng: np.random.Generator) -> None:
    image = Image.fromarray(picture)
    _write(folder / f"{name}.png", image.convert("RGB") if rng.random() < 0.2 else image)
    for number, mask in enumerate(masks or [np.zeros(picture.shape, bool)]):
        mode = str(rng.choice(["1", "1", "1", "RGB", "RGBA"]))
        suffix = f"_{number}" if number else ""
        _write(folder / f"{name}_mask{suffix}.png", Image.fromarray(mask).convert(mode))


def _write(path: Path, image: Image.Image) -> None:
    write_whole(path, lambda file: image.save(file, format="PNG"))


if __name__ == "__main__":
    run_command({"busi": busi, "rsna": rsna, "cbis": cbis})

"""Show what preprocessing makes of a folder of mammograms: pages of pictures, and a table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from tqdm import tqdm

from common.data.files import write_csv
from common.data.folder import picture_files
from common.data.mammogram import read_mammogram
from common.data.names import view_and_laterality
from common.data.pixels import SUFFIXES
from common.reports.breasts import Findings, breast_page, find
from common.reports.errors import run_command
from common.reports.figures import save_figure

ALSO = (".npy", ".nii", ".nii.gz")


def show_breasts(
    source_dir: str, output_dir: str, view: str | None = None, max_size: int = 1024, per_page: int = 12
) -> None:
    """Write OUTPUT_DIR/page_<n>.png, breasts.csv and rejected.csv for the mammograms of a folder.

    Each image is shown as its source, with the outline of the breast, with that of the pectoral muscle (MLO views),
    and cropped without the muscle; flags stand above the crop. View and laterality come from DICOM's tags, else from
    words in the file's name (LEFT, RIGHT, CC, MLO, …).

    Args:
        source_dir: DICOM, PNG, JPEG, TIFF, .npy or NIfTI files, in any folders below.
        output_dir: where pages and tables go.
        view: of the images that do not say; without it their pectoral muscle is not looked for.
        max_size: images are made smaller to this many pixels on the longer side.
        per_page: images on a page.
    """
    root, target = Path(source_dir), Path(output_dir)
    rows, rejected, waiting, page = [], [], [], 1
    for path in tqdm(picture_files(root, (*SUFFIXES, *ALSO)), desc="Looking at mammograms", unit="image"):
        name = path.relative_to(root).as_posix()
        try:
            waiting.append(_find(path, name, view, max_size))
        except ValueError as error:
            rejected.append({"image": name, "reason": str(error)})
            continue
        rows.append(waiting[-1].row())
        if len(waiting) == per_page:
            waiting, page = _finish(waiting, target, page), page + 1
    _finish(waiting, target, page)
    write_csv(target / "rejected.csv", pd.DataFrame(rejected, columns=["image", "reason"]))
    if not rows:
        raise FileNotFoundError(f"No mammogram in '{source_dir}' can be read ({len(rejected)} set aside).")
    write_csv(target / "breasts.csv", pd.DataFrame(rows))
    _report(pd.DataFrame(rows), rejected, target)


def _find(path: Path, name: str, view: str | None, max_size: int) -> Findings:
    image, facts = read_mammogram(path, max_size)
    named_view, named_laterality = view_and_laterality(path)
    return find(
        name,
        image,
        facts["view"] or named_view or view,
        facts["laterality"] or named_laterality,
        facts["implant"],
    )


def _finish(waiting: list[Findings], target: Path, page: int) -> list[Findings]:
    """Write a page of what waits for one, and return an empty list."""
    if waiting:
        save_figure(breast_page(waiting), target / f"page_{page}.png")
    return []


def _report(table: pd.DataFrame, rejected: list[dict[str, str]], target: Path) -> None:
    flags = table["quality_flags"][table["quality_flags"] != ""].str.split(";").explode().value_counts()
    mlo = table["view"] == "MLO"
    found = int((table["pectoral"][mlo] == "found").sum())
    print(f"{len(table)} images, {len(rejected)} set aside; pectoral muscle found on {found} of {mlo.sum()} MLO views")
    print("".join(f"flagged {name}: {count}\n" for name, count in flags.items()), end="")
    print(f"Pages and breasts.csv lie in {target}")


if __name__ == "__main__":
    run_command(show_breasts)

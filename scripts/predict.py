"""From DICOM or pictures to results: pictures, JSON, and, for DICOM, a structured report and segmentations."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from common.data.bundle import bundle_root, config_files
from common.data.packs import unpack
from common.reports.errors import run_command
from common.reports.prediction import NOTICE, predict_images, summary


def predict(
    input: str,
    bundle: str,
    output_dir: str = "predictions",
    ckpt_dir: str | None = None,
    experiment: str | None = None,
    **overrides: Any,
) -> None:
    """Write ``predictions.json`` and the tables, masks and overlays of the bundle's inference, and ``dicom/``.

    Args:
        input: a file, or a folder of files in any structure, such as a study.
        bundle: its name, or a packed bundle (.zip), of which weights and configs are used, and none of its code.
        output_dir: where everything goes; nothing is written elsewhere.
        ckpt_dir: folder of ``model.pt`` and ``model.json``; the bundle's own by default.
        experiment: whose overlays the weights were trained with.
        overrides: of the config, as in training.
    """
    with tempfile.TemporaryDirectory() as folder:
        if Path(bundle).suffix == ".zip":
            root, configs = unpack(bundle, folder), None
        else:
            root = Path(bundle_root(_known(bundle)))
            configs = config_files(bundle, experiment, first="inference")
        found = predict_images(input, root, output_dir, ckpt_dir, configs, **overrides)
    print(f"{summary(found)}\n{Path(output_dir) / 'predictions.json'}\n{NOTICE}")


def _known(bundle: str) -> str:
    """Return the name of a bundle that there is.

    Raises:
        ValueError: there is none of that name.
    """
    names = sorted(path.name for path in Path(bundle_root("")).iterdir() if (path / "configs").is_dir())
    if bundle not in names:
        raise ValueError(f"There is no bundle '{bundle}'; give one of {', '.join(names)}, or a packed one (.zip).")
    return bundle


if __name__ == "__main__":
    run_command(predict)

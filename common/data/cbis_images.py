"""One CBIS-DDSM mammogram with its abnormalities made ready: image, masks and patches. Free of torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from common.data.breast import breast_mask
from common.data.cbis_files import AbnormalityFiles, abnormality_files, mammogram_file
from common.data.files import write_whole
from common.data.mammogram import fit, read_mammogram, write_mammogram
from common.data.patches import Place, background, crop, cut, large_context, small_context
from common.data.quality import quality_flags

Record = dict[str, Any]


def prepare_image(job: Record) -> Record:
    """Read a mammogram and its abnormalities' masks, write what training takes, and say what could not be used.

    Args:
        job: ``id``; ``cases``, the files of the mammogram in each set that holds it; ``abnormalities``, each with
            ``case`` and ``files``; ``target`` (a folder), ``max_size`` of the whole image, and of patches ``size``,
            ``stride``, ``overlap``, ``surroundings``, ``backgrounds`` and ``seed``.

    Returns:
        the id with ``reason``; or ``image``, ``shape``, ``source_shape``, ``quality_flags``, ``background`` (patches)
        and ``abnormalities``, each with its ``reason``, or with ``mask``, ``box`` (x1, y1, x2, y2 in the written
        image), ``remarks`` and ``patches``.

    Raises:
        OSError: the result cannot be written, which is no fault of a file.
    """
    cv2.setNumThreads(1)
    record: Record = {"id": job["id"]}
    try:
        source = mammogram_file([Path(file) for file in next(filter(None, job["cases"]), [])])
        image, _ = read_mammogram(source)
    except (ValueError, MemoryError, FileNotFoundError) as error:
        return {**record, "reason": f"{error}" or type(error).__name__}
    target, breast = Path(job["target"]), breast_mask(image)
    place = write_mammogram(target / "images" / f"{job['id']}.tif", _smaller(image, job["max_size"]))
    record |= {"image": str(place.relative_to(target)), "source_shape": list(image.shape)}
    record |= {
        "shape": list(fit(image.shape, job["max_size"])),
        "quality_flags": quality_flags(image, None, None, breast),
    }
    masks: list[np.ndarray] = []
    record["abnormalities"] = [_abnormality(one, image, job, masks) for one in job["abnormalities"]]
    record["background"] = _background(image, breast, masks, job)
    return record


def _smaller(values: np.ndarray, max_size: Any) -> np.ndarray:
    shape = fit((values.shape[0], values.shape[1]), max_size)
    return values if values.shape == shape else cv2.resize(values, shape[::-1], interpolation=cv2.INTER_AREA)


def _abnormality(one: Record, image: np.ndarray, job: Record, masks: list[np.ndarray]) -> Record:
    try:
        found = abnormality_files([Path(file) for file in one["files"]], (image.shape[0], image.shape[1]))
    except ValueError as error:
        return {"case": one["case"], "reason": str(error)}
    masks.append(found.mask)
    target = Path(job["target"])
    mask = _smaller(found.mask.astype(np.float32), job["max_size"]) >= 0.5
    if not mask.any():  # a speck that the smaller image no longer shows
        mask = _smaller(found.mask.astype(np.float32), job["max_size"]) > 0
    path = target / "masks" / f"{one['case']}.png"
    write_whole(path, lambda file: Image.fromarray(mask).save(file, format="PNG"))
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    box = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
    facts = {"case": one["case"], "mask": str(path.relative_to(target)), "box": box, "remarks": found.remarks}
    return {**facts, "patches": list(_patches(one["case"], found, image, job))}


def _patches(case: str, found: AbnormalityFiles, image: np.ndarray, job: Record) -> Iterator[Record]:
    size = job["size"]
    places = [("small", place) for place in small_context(found.mask, size, job["stride"], job["overlap"])]
    places += [("large", large_context(found.mask, size, job["surroundings"])), ("crop", crop(found.mask))]
    for number, (context, place) in enumerate(places):
        yield _write(image, f"{case}_{number}", context, place, job)


def _background(image: np.ndarray, breast: np.ndarray, masks: list[np.ndarray], job: Record) -> list[Record]:
    if len(masks) < len(job["abnormalities"]):
        return []  # where an abnormality is not known, no place is surely free of it
    rng = np.random.default_rng([job["seed"], *job["id"].encode()])
    abnormal = np.logical_or.reduce([*masks, np.zeros(image.shape, bool)])
    places = background(breast, abnormal, job["size"], job["backgrounds"], rng)
    return [_write(image, f"{job['id']}_{n}", "background", place, job) for n, place in enumerate(places)]


def _write(image: np.ndarray, name: str, context: str, place: Place, job: Record) -> Record:
    target = Path(job["target"])
    if context == "crop":  # as tall and wide as it is, and large enough for what training will make of it
        patch = _smaller(cut(image, place), 2 * job["size"])
    else:
        patch = cut(image, place, job["size"])
    path = write_mammogram(target / "patches" / context / f"{name}.tif", patch)
    return {"image": str(path.relative_to(target)), "context": context, "place": list(place)}

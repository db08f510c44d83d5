"""From a datalist of mammograms to what a network takes: images one by one, or the views of a breast together."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from common.data.datalist import select

logger = logging.getLogger(__name__)
Item = dict[str, Any]
BREAST = ("patient_id", "laterality")


def mammogram_items(
    datalist: Mapping[str, Any], part: str, fold: int = 0, views: Sequence[str] | None = None, label: str = "cancer"
) -> list[Item]:
    """Return the items of one part, each with a list of images.

    Args:
        datalist: from `common.data.datalist.load_datalist`.
        part, fold: see `common.data.datalist.select`.
        views: None for one image an item; or the views that a breast's item holds, such as ["CC", "MLO"].
        label: what all views of a breast must agree on.

    Raises:
        ValueError: see `join_views`.
    """
    items = select(datalist, part, fold)
    return [single(item) for item in items] if views is None else join_views(items, views, label)


def single(item: Mapping[str, Any]) -> Item:
    """Return an item with one image as an item with a list of one."""
    return {**item, "name": _name(item), "image": [item["image"]], "views": [item.get("view", "")]}


def join_views(items: Iterable[Mapping[str, Any]], views: Sequence[str], label: str = "cancer") -> list[Item]:
    """Return an item for each breast, with one image for each view; a missing one is None.

    Where a view was taken several times, the breast has as many items, and views that were taken less often repeat.
    Images of other views are left out, and breasts without any of the views too; a warning counts both.

    Raises:
        ValueError: the images of a breast disagree on ``label``, an image's patient or side is not known, or nothing is
            left.
    """
    breasts: dict[tuple[str, ...], list[Item]] = defaultdict(list)
    for item in items:
        if not all(item.get(key) for key in BREAST):
            raise ValueError(f"{item['image']} cannot be joined with other views: it lacks one of {BREAST}.")
        breasts[tuple(str(item[key]) for key in BREAST)].append(dict(item))
    for (patient, side), images in breasts.items():
        if len({image.get(label) for image in images}) > 1:
            raise ValueError(f"The images of breast {side} of patient {patient} disagree on '{label}'. Mend the table.")
    joined = [one for images in breasts.values() for one in _join(images, views)]
    unseen = [i for images in breasts.values() for i in images if i.get("view") not in views]
    lost = sum(all(image.get("view") not in views for image in images) for images in breasts.values())
    if unseen:
        kinds = sorted({str(item.get("view")) for item in unseen})
        logger.warning(
            f"{len(unseen)} images have views that this network does not take ({', '.join(kinds)}; it takes "
            f"{', '.join(views)}); {lost} breasts have no other, and are left out."
        )
    if not joined:
        raise ValueError(f"No breast has an image of the views {list(views)}. Choose others with --views.")
    return joined


def _join(images: Sequence[Item], views: Sequence[str]) -> list[Item]:
    of_view = {view: [image for image in images if image.get("view") == view] for view in views}
    result = []
    for number in range(max(map(len, of_view.values()))):
        chosen = [known[number % len(known)] if known else None for known in of_view.values()]
        there = [image for image in chosen if image is not None]
        same = {key: value for key, value in there[0].items() if all(i.get(key) == value for i in there)}
        name, paths = "+".join(map(_name, there)), [image and image["image"] for image in chosen]
        view = there[0]["view"] if len(there) == 1 else "+".join(views)
        shown = [image["view"] if image else None for image in chosen]
        result.append({**same, "name": name, "image": paths, "views": shown, "view": view})
    return result


def _name(item: Mapping[str, Any]) -> str:
    return str(item.get("image_id") or item.get("name") or item["image"])


def seen_views(items: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the views among items, to be noted beside the weights that were trained on them."""
    return sorted({view for item in items for view in item["views"] if view})

"""Can the class be told without looking at the breast? By size, brightness, metadata, and with shuffled labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from common.data.datalist import load_datalist
from common.data.files import write_csv
from common.data.mammogram import read_mammogram
from common.metrics import shortcuts
from common.metrics.bootstrap import Estimate
from common.metrics.tables import metrics_table, readable
from common.reports.errors import run_command


def check_shortcuts(dataset_dir: str, output_dir: str | None = None, seed: int = 0) -> None:
    """Print the (macro) AUC of each baseline, out of fold on the training part, with its interval.

    An interval that does not hold .5 tells of a shortcut in the data; for shuffled labels it tells of a leak in the
    folds.

    Args:
        dataset_dir: a prepared data set.
        output_dir: where shortcuts.csv goes.
        seed: of the shuffle.
    """
    datalist = load_datalist(dataset_dir)
    items = [item for item in datalist["items"] if item["fold"] >= 0]
    labels = np.array([item["label"] for item in items])
    size, statistics = _measure(items)
    features = {"image_size": size, "global_statistics": statistics, "metadata": shortcuts.metadata_features(items)}
    found: dict[str, Estimate] = {
        name: shortcuts.baseline(table, items, labels) for name, table in features.items() if table.shape[1]
    }
    found["shuffled_labels"] = shortcuts.chance(pd.concat([size, statistics], axis=1), items, labels, seed=seed)
    print(f"{datalist['name']}: AUC without looking at the breast\n{readable(found)}")
    telling = [name for name, one in found.items() if not one.low <= 0.5 <= one.high]
    print(f"intervals that do not hold .5: {', '.join(telling) or 'none'}")
    if output_dir is not None:
        write_csv(Path(output_dir) / "shortcuts.csv", metrics_table(found))


def _measure(items: Sequence[Mapping[str, Any]]) -> list[pd.DataFrame]:
    sizes, statistics = [], []
    for item in tqdm(items, desc="Measuring images", unit="image"):
        image, facts = read_mammogram(item["image"])
        sizes.append(shortcuts.size_features(item.get("source_shape") or facts["source_shape"]))
        statistics.append(shortcuts.statistics_features(image))
    return [pd.DataFrame(sizes), pd.DataFrame(statistics)]


if __name__ == "__main__":
    run_command(check_shortcuts)

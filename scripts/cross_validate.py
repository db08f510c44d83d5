"""Train and evaluate a bundle on each fold in turn, and score the out-of-fold predictions as one table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import mlflow
import torch
from monai.bundle import ConfigParser

from common.data.bundle import config_files, new_run_dir
from common.data.datalist import folds_of, load_datalist
from common.data.files import read_json, write_json
from common.data.workflow import run_config
from common.handlers.tracking import PARENT_VARIABLE, known_run, log_scores, open_store
from common.metrics.bootstrap import Estimate
from common.metrics.tables import readable
from common.reports.errors import run_command
from common.reports.out_of_fold import summarise
from common.reports.splits import summarise_splits


def cross_validate(
    bundle: str,
    dataset_dir: str,
    experiment: str | None = None,
    folds: list[int] | int | None = None,
    output_dir: str | None = None,
    test: bool = True,
    threads: int | None = None,
    **overrides: Any,
) -> None:
    """Cross-validate a bundle; what is done already in OUTPUT_DIR is not done again.

    A fold is scored with the weights of its last epoch, since the best epoch was chosen on that very fold, and
    at the operating point that the other folds choose. The test set, which chose nothing, is scored with each
    fold's best weights (mean and spread in test_splits.csv, ROC curves with their band in figures/), and, once all
    folds are done, with the ensemble of the folds' last weights at the operating
    point that all out-of-fold predictions choose.

    Args:
        bundle: its name, such as busi_attention_unet.
        dataset_dir: a prepared data set.
        experiment: overlays of configs/experiments, chained by commas; those that one comes after are put before it.
        folds: which folds, all by default.
        output_dir: where the folds' runs, tables and figures go.
        test: score the test set as well.
        threads: of torch, all cores by default.
        overrides: any key of the config, such as --epochs 20.
    """
    if threads:
        torch.set_num_threads(threads)
    name = "_".join(["cross_validate", *([experiment] if isinstance(experiment, str) else experiment or [])])
    folder = Path(output_dir or new_run_dir(bundle, name))
    datalist = load_datalist(dataset_dir)
    every = folds_of(datalist)
    chosen = every if folds is None else [folds] if isinstance(folds, int) else list(folds)
    with _Parent(bundle, name, folder) as parent:
        for fold in chosen:
            _run_fold(bundle, experiment, fold, folder / f"fold_{fold}", test, dataset_dir=dataset_dir, **overrides)
        done = [fold for fold in every if (folder / f"fold_{fold}" / "out_of_fold" / "predictions.csv").is_file()]
        if len(done) > 1:
            parent.scores = summarise(folder, done, datalist.get("classes", []))
            print(f"Out of fold, folds {done}:\n{readable(parent.scores)}")
        if test and len(done) > 1:
            summarise_splits(folder, done)
        if test and done == every:
            evaluate = config_files(bundle, experiment, "evaluate")
            _run_ensemble(evaluate, folder, every, dataset_dir=dataset_dir, **overrides)
    print(f"Tables and figures lie in {folder}")


def _run_fold(bundle: str, experiment: str | None, fold: int, folder: Path, test: bool, **overrides: Any) -> None:
    models = folder / "models"
    if not (folder / "metrics.csv").is_file():
        resume = (models / "checkpoint.pt").is_file()
        train = {"fold": fold, "output_dir": str(folder), "resume": resume, "run_name": f"fold {fold}", **overrides}
        run_config(config_files(bundle, experiment), "train", **train)
    evaluate = config_files(bundle, experiment, "evaluate")
    overrides.pop("weights", None)  # what training started from, not what it ended with
    parts = {"out_of_fold": ("validation", "model_last.pt"), **({"test": ("test", "model.pt")} if test else {})}
    for place, (part, checkpoint) in parts.items():
        if not (folder / place / "metrics.csv").is_file():
            given = {"part": part, "fold": fold, "ckpt_dir": str(models), "checkpoint": checkpoint}
            if "save_masks" in ConfigParser.load_config_file(evaluate[-1]):
                given["save_masks"] = True
            given |= {"output_dir": str(folder / place), "run_name": f"fold {fold} {place}", **overrides}
            run_config(evaluate, "eval", **given)


def _run_ensemble(configs: list[str], folder: Path, folds: list[int], **overrides: Any) -> None:
    """Score the test set with the mean of all folds' networks, into ``ensemble/``."""
    if (folder / "ensemble" / "metrics.csv").is_file():
        return
    chosen = folder / "operating_point.json"
    overrides.pop("weights", None)
    members = [str(folder / f"fold_{fold}" / "models" / "model_last.pt") for fold in folds]
    given: dict[str, Any] = {"members": members, "weights": None, "part": "test"}
    given |= {"fold": None, "run_name": "ensemble"}
    given["operating_point"] = read_json(chosen) if chosen.is_file() else {}
    run_config(configs, "eval", **{**given, "output_dir": str(folder / "ensemble"), **overrides})


class _Parent:
    """The MLflow run above the folds: made once for an output folder, and taken up again with it."""

    def __init__(self, bundle: str, name: str, folder: Path) -> None:
        self.bundle, self.name, self.folder = bundle, name, folder
        self.scores: dict[str, Estimate] = {}

    def __enter__(self) -> _Parent:
        open_store(self.bundle)
        note = self.folder / "mlflow_run.json"
        known = known_run(note)
        with mlflow.start_run(run_id=known, run_name=None if known else self.name) as run:
            self.run_id = run.info.run_id
        write_json(note, {"run_id": self.run_id, "tracking_uri": mlflow.get_tracking_uri()})
        os.environ[PARENT_VARIABLE] = self.run_id
        mlflow.MlflowClient().update_run(self.run_id, status="RUNNING")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        del os.environ[PARENT_VARIABLE]
        if kind is not None:
            mlflow.MlflowClient().set_terminated(self.run_id, "FAILED")
            return
        with mlflow.start_run(run_id=self.run_id):
            log_scores(self.scores, "out_of_fold")
            for name in ("predictions.csv", "metrics.csv", "operating_points.json", "test_splits.csv"):
                if (self.folder / name).is_file():
                    mlflow.log_artifact(str(self.folder / name))
            if (self.folder / "figures").is_dir():
                mlflow.log_artifacts(str(self.folder / "figures"), "figures")


if __name__ == "__main__":
    run_command(cross_validate)

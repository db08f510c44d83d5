"""One MLflow run for one invocation, browsable afterwards, closed whatever happens."""

from __future__ import annotations

import inspect
import logging
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import requests
from ignite.engine import Engine, Events
from mlflow.entities import RunStatus
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT, MLFLOW_PARENT_RUN_ID
from monai.bundle import ConfigParser

from common.data.files import read_json, write_json
from common.data.flags import flag
from common.handlers.distributed import rank
from common.metrics.bootstrap import Estimate

logger = logging.getLogger(__name__)
STORE = Path("runs")
PARENT_VARIABLE = "BREAST_IMAGING_PARENT_RUN"
BOUNDS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}  # a lost server costs seconds
NOT_LOGGED = ("checkpoint.pt", "mlflow_run.json")


def tracking_uri() -> str:
    """Return ``MLFLOW_TRACKING_URI`` where it is set, else the SQLite store ``runs/mlflow.db`` below this folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(STORE / 'mlflow.db').resolve()}"


def open_store(experiment: str) -> None:
    """Point MLflow at the store and at the experiment, making either if it is not there.

    Raises:
        ConnectionError: the tracking server does not answer.
    """
    uri = tracking_uri()
    if uri.startswith("http"):
        for name, value in BOUNDS.items():
            os.environ.setdefault(name, value)
        _knock(uri)
    else:
        STORE.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(uri)
    if mlflow.get_experiment_by_name(experiment) is None:
        place = None if uri.startswith("http") else (STORE / "mlartifacts" / experiment).resolve().as_uri()
        mlflow.create_experiment(experiment, artifact_location=place)
    mlflow.set_experiment(experiment)


def _knock(uri: str) -> None:
    try:
        requests.get(uri.rstrip("/") + "/health", timeout=5)
    except requests.RequestException as error:
        raise ConnectionError(
            f"MLflow does not answer at MLFLOW_TRACKING_URI={uri}. Start it, or unset the variable to use a "
            "local store."
        ) from error


def known_run(note: Path) -> str | None:
    """Return the run that ``mlflow_run.json`` names, if the store that is open holds it."""
    run_id = read_json(note)["run_id"] if note.is_file() else None
    if run_id is not None:
        try:
            mlflow.MlflowClient().get_run(run_id)
        except MlflowException:
            logger.warning(f"{note} names a run that is not in {mlflow.get_tracking_uri()}: a new one is begun.")
            return None
    return run_id


def git_revision() -> str | None:
    """Return the revision that this code runs from, with '-dirty' for uncommitted changes; None outside git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--match="]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def calling_config() -> dict[str, Any]:
    """Return the whole config, overrides included, of the bundle that is building the caller.

    MONAI hands components their own arguments only; the parser that builds them stands further up the stack.
    """
    for frame in inspect.stack(0):
        parser = frame.frame.f_locals.get("self")
        if isinstance(parser, ConfigParser):
            return dict(parser.get())
    return {}


def hyper_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain values at the top of a config: numbers, words and short lists of such, no expressions."""

    def plain(value: Any) -> bool:
        if isinstance(value, list):
            return all(plain(v) for v in value) and len(value) <= 16
        if isinstance(value, dict):
            return "_target_" not in value and all(plain(v) and not expression(v) for v in value.values())
        return value is None or isinstance(value, bool | int | float | str)

    def expression(value: Any) -> bool:
        return isinstance(value, str) and value[:1] in "$@%"

    found = {k: v for k, v in config.items() if plain(v) and not expression(v) and not k.startswith("_")}
    return {k: v for k, v in found.items() if not (isinstance(v, list) and any(expression(x) for x in v))}


class MLflowRun:
    """Log an engine's run: hyper-parameters, config, data, metrics, and at the end all of its output folder.

    Place it first among the handlers: it opens the run before anything else can fail, and closes it, FINISHED
    or FAILED, after everything else is done. A resumed run goes on in the same MLflow run. If the server goes away
    meanwhile, that is said once and training goes on; all there is to log lies in ``output_dir`` as well.

    Args:
        experiment: the bundle's name.
        run_name: of this run.
        output_dir: whose files become the run's artifacts at the end (but for optimizer state).
        datalist: a loaded datalist, logged as the run's input.
        facts: more parameters (fold, …).
        history_file: the ``history.csv`` of `common.handlers.training.History`; its rows become metrics per epoch.
        table: a `PredictionTable`, whose scores with intervals become metrics at the end.
        resume: go on in the run that ``output_dir/mlflow_run.json`` names.
        prefix: of the final metrics, such as "test".
        enabled: false logs nothing.
    """

    def __init__(
        self,
        experiment: str,
        run_name: str,
        output_dir: str | os.PathLike,
        datalist: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
        history_file: str | os.PathLike | None = None,
        table: Any = None,
        resume: bool = False,
        prefix: str = "final",
        enabled: bool = True,
    ) -> None:
        self.experiment, self.run_name, self.folder = experiment, run_name, Path(output_dir)
        self.datalist, self.facts, self.table = datalist, dict(facts or {}), table
        self.history_file = Path(history_file) if history_file else None
        self.resume, self.prefix, self.enabled = flag(resume), prefix, flag(enabled)
        self.config = calling_config()
        self.run_id: str | None = None
        self.lost = False

    def attach(self, engine: Engine) -> None:
        if not self.enabled or rank() > 0:
            return
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self.fail)

    def start(self, engine: Engine) -> None:
        # added now, when every other handler is in place, so that these come last
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.log_epoch)
        engine.add_event_handler(Events.COMPLETED, self.finish)
        open_store(self.experiment)
        note = self.folder / "mlflow_run.json"
        known = known_run(note) if self.resume else None
        if known is not None:
            mlflow.start_run(run_id=known, log_system_metrics=True)
        else:
            mlflow.start_run(run_name=self.run_name, tags=self._tags(), log_system_metrics=True)
            self._log_start()
        run = mlflow.active_run()
        assert run is not None
        self.run_id = run.info.run_id
        write_json(note, {"run_id": self.run_id, "tracking_uri": mlflow.get_tracking_uri()})

    def _tags(self) -> dict[str, str]:
        tags: dict[str, Any] = {
            MLFLOW_GIT_COMMIT: git_revision(),
            MLFLOW_PARENT_RUN_ID: os.environ.get(PARENT_VARIABLE),
        }
        tags |= {"bundle": self.experiment, **{key: self.config.get(key) for key in ("experiment", "fold")}}
        tags["data_fingerprint"] = (self.datalist or {}).get("fingerprint")
        return {key: str(value) for key, value in tags.items() if value not in (None, "")}

    def _log_start(self) -> None:
        mlflow.log_params({k: str(v)[:500] for k, v in {**hyper_parameters(self.config), **self.facts}.items()})
        write_json(self.folder / "config.json", self.config)
        mlflow.log_artifact(str(self.folder / "config.json"))
        if self.datalist:
            table = pd.DataFrame(self.datalist["items"]).drop(columns=["image", "mask"], errors="ignore")
            table = table.astype(dict.fromkeys(table.select_dtypes("int"), float))  # MLflow's schema warns of integers
            name, digest = self.datalist["name"], self.datalist["fingerprint"]
            mlflow.log_param("data_fingerprint", digest)
            mlflow.log_input(mlflow.data.from_pandas(table, name=name, digest=digest[:36]), context=self.prefix)

    def log_epoch(self, engine: Engine) -> None:
        if self.history_file is not None and self.history_file.is_file():
            row = pd.read_csv(self.history_file).iloc[-1].dropna().to_dict()
            self._tell(lambda: mlflow.log_metrics(row, step=int(row.pop("epoch"))))

    def _tell(self, log: Callable[[], Any]) -> None:
        """Log something, unless the server is lost; losing it is said once and stops nothing."""
        if self.lost:
            return
        try:
            log()
        except (MlflowException, requests.RequestException) as error:
            self.lost = True
            logger.warning(
                f"MLflow no longer answers ({type(error).__name__}): the rest is kept in {self.folder} alone."
            )

    def finish(self, engine: Engine) -> None:
        engine.remove_event_handler(self.log_epoch, Events.EPOCH_COMPLETED)
        engine.remove_event_handler(self.finish, Events.COMPLETED)
        self._tell(self._log_end)
        if not self.lost:
            logger.info(f"Logged to MLflow run {self.run_id}; browse: mlflow ui --backend-store-uri {tracking_uri()}")

    def _log_end(self) -> None:
        if self.table is not None:
            log_scores(self.table.scores, self.prefix)
        log_folder(self.folder)
        mlflow.end_run()

    def fail(self, engine: Engine, error: BaseException) -> None:
        if mlflow.active_run() is not None:
            self._tell(lambda: mlflow.end_run(status=RunStatus.to_string(RunStatus.FAILED)))
        raise error


def log_scores(scores: Mapping[str, Estimate], prefix: str) -> None:
    """Log each score with the ends of its interval as metrics of the active run; undefined ones are left out."""
    for name, found in scores.items():
        ends = {f"{prefix}_{name}": found.value, f"{prefix}_{name}_low": found.low, f"{prefix}_{name}_high": found.high}
        mlflow.log_metrics({key: value for key, value in ends.items() if pd.notna(value)})


def log_folder(folder: Path) -> None:
    """Log the files of a run's output folder, but for optimizer state, as artifacts of the active run."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.name not in NOT_LOGGED and not file.name.startswith("."):
            place = file.parent.relative_to(folder).as_posix()
            mlflow.log_artifact(str(file), None if place == "." else place)

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest
import requests
import torch
from ignite.engine import Engine, Events

from common.handlers.checkpoints import Checkpoints
from common.handlers.tracking import BOUNDS, MLflowRun, hyper_parameters, open_store
from common.handlers.training import SeedEpochs, UpdateAverage, averaged


def engine_of(step) -> Engine:
    return Engine(lambda engine, batch: step())


def test_hyper_parameters_are_the_plain_values() -> None:
    plain = {"epochs": 3, "sizes": [1, 2], "weights": None}
    others = {"net": {"_target_": "x"}, "_desc_": "d", "ckpt": "$1", "ref": "@a"}
    assert hyper_parameters({**plain, **others}) == plain


def test_a_silent_tracking_server_is_refused_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    begin = time.monotonic()
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:9.*unset the variable"):
        open_store("anything")
    assert time.monotonic() - begin < 10


def test_an_error_closes_the_run_as_failed_and_goes_on_up(tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    engine, run = engine_of(fail), MLflowRun("failing", "run", tmp_path)
    run.attach(engine)
    with pytest.raises(RuntimeError, match="broken"):
        engine.run([0])
    assert run.run_id is not None and mlflow.get_run(run.run_id).info.status == "FAILED"
    assert mlflow.active_run() is None


def test_an_epoch_depends_on_seed_and_number_alone() -> None:
    class Data:
        transform = None

    def draws(epochs: int, start: int = 0) -> list[float]:
        found: list[float] = []
        engine = engine_of(lambda: found.append(float(torch.rand(1))))
        SeedEpochs(3, Data()).attach(engine)
        engine.add_event_handler(Events.STARTED, lambda e: setattr(e.state, "epoch", start))
        engine.run([0, 0], max_epochs=epochs)
        return found

    torch.rand(5)
    assert draws(3) == draws(3)
    assert draws(3)[4:] == draws(3, start=2)
    assert len(set(draws(3))) == 6


def test_averaged_weights_follow_with_decay() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    average = averaged(network, 0.1)  # below the warm-up's 2 / 11
    assert average is not None and averaged(network, None) is None
    values = iter([1.0, 2.0])

    def step() -> None:
        network.weight.data.fill_(next(values))

    engine = engine_of(step)
    UpdateAverage(average, network).attach(engine)
    engine.run([0, 0])
    assert average.module.weight.item() == pytest.approx(0.1 * 1 + 0.9 * 2)


def test_an_average_does_not_cling_to_where_it_began() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    average = averaged(network, 0.999)
    assert average is not None
    for value in (0.0, *[1.0] * 30):
        network.weight.data.fill_(value)
        average.update_parameters(network)
    assert average.module.weight.item() > 0.99


def test_another_kind_of_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"state": {"network": {}}, "epoch": 1, "iteration": 1, "best": 0.0}, tmp_path / "checkpoint.pt")
    network = torch.nn.Linear(1, 1)
    handler = Checkpoints(tmp_path, {"network": network, "optimizer": network}, network, engine_of(int), resume=True)
    with pytest.raises(ValueError, match="another kind of run"):
        handler.start(engine_of(int))
    handler = Checkpoints(tmp_path, {"network": network}, network, engine_of(int), resume=True)
    with pytest.raises(ValueError, match="another than configured"):
        handler.start(engine_of(int))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A real tracking server on the loopback address, with its own store."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = f"sqlite:///{tmp_path / 'server.db'}"
    words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", store, "--artifacts-destination", str(tmp_path / "artifacts")]
    process = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    uri, before = f"http://127.0.0.1:{port}", mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for name in BOUNDS:
        monkeypatch.setenv(name, BOUNDS[name])
    for _ in range(240):
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"{uri}/health", timeout=1).ok:
                break
        time.sleep(0.5)
    yield uri, process
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(Exception):
        mlflow.end_run()
    mlflow.set_tracking_uri(before)


def tracked(folder: Path, during) -> tuple[Engine, MLflowRun]:
    """An engine of three epochs with a history, and its run; ``during`` is called after each epoch."""
    folder.mkdir(exist_ok=True)
    history = folder / "history.csv"

    def write(engine: Engine) -> None:
        rows = [f"{epoch},{1 / epoch}" for epoch in range(1, engine.state.epoch + 1)]
        history.write_text("\n".join(["epoch,train_loss", *rows]) + "\n")
        during(engine)

    engine, run = engine_of(lambda: None), MLflowRun("remote", "a run", folder, history_file=history)
    run.attach(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, write)
    return engine, run


@pytest.mark.slow
def test_a_remote_server_holds_the_run(server, tmp_path: Path) -> None:
    uri, _ = server
    engine, run = tracked(tmp_path / "run", lambda engine: None)
    engine.run([0], max_epochs=3)
    found = requests.get(f"{uri}/api/2.0/mlflow/runs/get", params={"run_id": run.run_id}, timeout=10).json()["run"]
    assert found["info"]["status"] == "FINISHED" and found["info"]["run_name"] == "a run"
    assert {tag["key"]: tag["value"] for tag in found["data"]["tags"]}["bundle"] == "remote"
    assert {metric["key"]: metric["value"] for metric in found["data"]["metrics"]}["train_loss"] == pytest.approx(1 / 3)
    listed = requests.get(f"{uri}/api/2.0/mlflow/artifacts/list", params={"run_id": run.run_id}, timeout=10).json()
    assert "history.csv" in {file["path"] for file in listed["files"]}


@pytest.mark.slow
def test_training_goes_on_when_the_server_goes_away(server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, process = server

    def kill(engine: Engine) -> None:
        if engine.state.epoch == 1:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    engine, run = tracked(tmp_path / "run", kill)
    begin = time.monotonic()
    with caplog.at_level("WARNING"):
        assert engine.run([0], max_epochs=3).epoch == 3
    assert time.monotonic() - begin < 120 and run.lost
    assert sum("no longer answers" in record.message for record in caplog.records) == 1
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 4

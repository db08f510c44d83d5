from __future__ import annotations

import time
from pathlib import Path

import mlflow
import pytest
import torch
from ignite.engine import Engine, Events

from common.handlers.checkpoints import Checkpoints
from common.handlers.tracking import MLflowRun, hyper_parameters, open_store
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

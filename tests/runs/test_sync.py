"""What could not be sent is sent afterwards, and what was cut off is told so."""

import time
from contextlib import closing
from pathlib import Path
from socket import socket
from typing import Any

import pytest

from lesionseg.config.compose import Request, compose_jobs
from lesionseg.config.schema import SyncConfig
from lesionseg.errors import InputError
from lesionseg.runs import sync as sync_module
from lesionseg.runs.plan import store_of
from lesionseg.runs.sync import sync
from lesionseg.tracking import (
    HASH_TAG,
    KEY_TAG,
    KIND_TAG,
    SWEEP_TAG,
    Claim,
    Courier,
    Journal,
    Status,
    Store,
    Worker,
    add_to_grid,
    find_parent,
    read_claim,
    runs_of,
    take_claim,
)

ELSEWHERE = Worker("far", "far", 41, 0.0)


@pytest.fixture
def config(with_store: Any, tmp_path: Path) -> SyncConfig:
    (job,) = compose_jobs(Request("sync", (f"paths.outputs={with_store(tmp_path / 'outputs')}",)))
    assert isinstance(job.config, SyncConfig)
    return job.config


@pytest.fixture
def store(config: SyncConfig) -> Store:
    return store_of(config.tracking, config.paths)


def _kept(config: SyncConfig, identity: str, ended: Status | None = "FINISHED", sweep: str | None = "s") -> Path:
    """The folder of a run that was made while MLflow was away."""
    folder = Path(config.paths.outputs) / "runs" / (sweep or "task") / identity
    journal = Journal(folder)
    journal.begin(identity, {}, {HASH_TAG: identity, SWEEP_TAG: sweep or "", KIND_TAG: "run", KEY_TAG: identity}, sweep)
    journal.log_metrics({"train/loss": 0.5}, 1)
    if ended is not None:
        journal.end(ended)
    return folder


@pytest.mark.parametrize(
    ("ended", "status"), [("FINISHED", "FINISHED"), ("FAILED", "FAILED"), ("KILLED", "KILLED"), (None, "KILLED")]
)
def test_what_was_kept_is_sent_and_what_was_cut_off_is_killed(
    config: SyncConfig, store: Store, capsys: pytest.CaptureFixture[str], ended: Status | None, status: str
) -> None:
    folder = _kept(config, "a", ended, sweep=None)
    assert sync(config) == 0
    (run,) = runs_of(store, "a", None)
    assert run.info.status == status
    assert run.data.metrics == {"train/loss": 0.5}
    assert capsys.readouterr().out == f"1 of 1 runs with something to send were sent to {store.uri}.\n"
    assert Journal(folder).is_delivered()
    assert read_claim(folder) is None, "whoever goes on with it finds it free"
    assert sync(config) == 0
    assert capsys.readouterr().out == f"0 of 0 runs with something to send were sent to {store.uri}.\n"


def test_the_sweep_ends_as_its_runs_did(config: SyncConfig, store: Store) -> None:
    _kept(config, "a"), _kept(config, "b")
    _kept(config, "c", None, sweep="cut")
    add_to_grid(store, "s", [{"key": "a", "name": "a"}, {"key": "b", "name": "b"}], "lesionseg train")
    assert sync(config) == 0
    for sweep, status in (("s", "FINISHED"), ("cut", "KILLED")):
        parent = find_parent(store, sweep)
        assert parent is not None
        assert store.client.get_run(parent).info.status == status


def test_what_somebody_works_on_is_left_to_them(
    config: SyncConfig, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    busy, _ = _kept(config, "busy", None), _kept(config, "idle")
    assert isinstance(take_claim(busy, expires=60, worker=ELSEWHERE), Claim)
    assert sync(config) == 1
    assert capsys.readouterr().out == (
        "busy: process 41 on far works on it, and sends what it logs\n"
        f"1 of 2 runs with something to send were sent to {store.uri}.\n"
    )
    assert runs_of(store, "busy", "s") == []
    holder = read_claim(busy)
    assert holder is not None
    assert holder.worker == ELSEWHERE


def test_what_nobody_was_heard_of_in_for_minutes_is_sent(config: SyncConfig, store: Store) -> None:
    take_claim(_kept(config, "a"), expires=60, worker=ELSEWHERE, clock=lambda _: time.time() - 181)
    assert sync(config) == 0
    assert len(runs_of(store, "a", "s")) == 1


def test_what_mlflow_does_not_take_is_kept_and_told(
    config: SyncConfig, store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _kept(config, "a")
    monkeypatch.setattr(sync_module, "_PATIENCE", 0.0)

    def refuse(*_: Any) -> None:
        raise OSError("the disk of the server is full")

    with monkeypatch.context() as patched:
        patched.setattr("lesionseg.tracking.runs.Run.log_timed", refuse)
        assert sync(config) == 1
    assert capsys.readouterr().out == (
        "a  MLflow does not take what is logged; the work goes on, and it is kept: the disk of the server is full\n"
        f"0 of 1 runs with something to send were sent to {store.uri}.\n"
    )
    assert read_claim(folder) is None
    assert sync(config) == 0
    assert runs_of(store, "a", "s")[0].info.status == "FINISHED"


def test_what_has_arrived_is_left_alone(config: SyncConfig, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _kept(config, "a", None)
    assert Courier(Journal(folder), lambda: store, print, "a").drain(0)
    assert sync(config) == 0
    assert capsys.readouterr().out.startswith("0 of 0 runs ")
    assert runs_of(store, "a", "s")[0].info.status == "RUNNING", "its process may be at work elsewhere"


def test_a_server_that_is_away_is_told_and_everything_kept(tmp_path: Path) -> None:
    with closing(socket()) as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    overrides = ("tracking=server", f"tracking.uri={uri}", f"paths.outputs={tmp_path / 'outputs'}")
    (job,) = compose_jobs(Request("sync", overrides))
    assert isinstance(job.config, SyncConfig)
    folder = _kept(job.config, "a")
    with pytest.raises(InputError, match="no server answers there"):
        sync(job.config)
    assert not Journal(folder).is_delivered()
    assert read_claim(folder) is None

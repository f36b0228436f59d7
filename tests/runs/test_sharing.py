"""A run that this process has claimed: new, cut off, finished, or another folder's."""

import hashlib
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lesionseg.errors import InputError
from lesionseg.runs import sharing as sharing_module
from lesionseg.runs.sharing import Found, await_claim, settle
from lesionseg.tracking import (
    HASH_TAG,
    HEARTBEAT_TAG,
    KIND_TAG,
    SWEEP_TAG,
    Claim,
    Courier,
    Heartbeat,
    Journal,
    Run,
    Status,
    Store,
    Worker,
    open_store,
    runs_of,
    start_run,
    take_claim,
    this_worker,
)

ELSEWHERE = Worker("far", "far", 1, 0.0)


@pytest.fixture(scope="module")
def store(with_store: Any, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder: Path = with_store(tmp_path_factory.mktemp("sharing"))
    return open_store(f"sqlite:///{folder}/mlflow.db", "exp", str(folder / "artifacts"), folder / ".lock")


@pytest.fixture
def identity(request: pytest.FixtureRequest) -> str:
    """A run of its own for each test."""
    return hashlib.sha256(request.node.name.encode()).hexdigest()


def _away() -> Store:
    raise InputError("tracking.uri: no server answers there")


def _settle(store: Store | None, folder: Path, identity: str, *, force: bool = False) -> tuple[Found, Journal]:
    """As a process does that comes anew."""
    journal = Journal(folder)
    courier = Courier(journal, _away if store is None else lambda: store, print, "run")
    return settle(store, journal, courier, identity, None, force=force), journal


def _worked_on(folder: Path, identity: str, store: Store | None, status: Status | None = None, steps: int = 2) -> str:
    """Begin a run, or go on with it, and end it so; None: it was cut off. Without a store MLflow is away."""
    journal = Journal(folder)
    courier = Courier(journal, _away if store is None else lambda: store, lambda line: None, "run")
    journal.begin("run", {}, {HASH_TAG: identity, SWEEP_TAG: "", KIND_TAG: "run"}, None)
    for step in range(1, steps + 1):
        journal.log_metrics({"train/loss": 1 / step}, step)
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "last.ckpt").write_text("state")
    if status is not None:
        journal.end(status)
    courier.drain(0)
    return journal.run_id or ""


def _in_mlflow(store: Store, identity: str, status: Status = "RUNNING", beat: Heartbeat | None = None) -> Run:
    """A run that another folder knows of."""
    tags = {HASH_TAG: identity, SWEEP_TAG: "", KIND_TAG: "run"}
    run = start_run(store, "run", params={}, tags={**tags, **({HEARTBEAT_TAG: beat.to_text()} if beat else {})})
    if status != "RUNNING":
        run.set_status(status)
    return run


def _has_checkpoints(folder: Path) -> bool:
    return (folder / "checkpoints" / "last.ckpt").exists()


def test_what_nobody_knows_is_new(store: Store, tmp_path: Path, identity: str) -> None:
    for known in (store, None):
        found, journal = _settle(known, tmp_path, identity)
        assert found == Found("new")
        assert not journal.exists


@pytest.mark.parametrize(
    ("ended", "before"), [("KILLED", "killed"), ("FAILED", "failed"), (None, "cut off"), ("RUNNING", "cut off")]
)
def test_what_was_not_finished_goes_on(
    store: Store, tmp_path: Path, identity: str, ended: Status | None, before: str
) -> None:
    run_id = _worked_on(tmp_path, identity, store, ended)
    for force in (False, True):
        found, journal = _settle(store, tmp_path, identity, force=force)
        assert found == Found("goes on", run_id, before)
        assert (journal.run_id, journal.exists, _has_checkpoints(tmp_path)) == (run_id, True, True)


def test_what_is_finished_is_finished(store: Store, tmp_path: Path, identity: str) -> None:
    run_id = _worked_on(tmp_path, identity, store, "FINISHED")
    found, journal = _settle(store, tmp_path, identity)
    assert found == Found("finished", run_id)
    assert journal.exists
    elsewhere, _ = _settle(store, tmp_path / "another folder", identity)
    assert elsewhere == Found("finished", run_id), "whoever finished it"


def test_what_is_finished_is_new_by_force(store: Store, tmp_path: Path, identity: str) -> None:
    _worked_on(tmp_path, identity, store, "FINISHED")
    found, journal = _settle(store, tmp_path, identity, force=True)
    assert found == Found("new")
    assert (journal.run_id, journal.exists, _has_checkpoints(tmp_path)) == (None, False, False)


def test_of_several_finished_runs_the_latest_counts(store: Store, tmp_path: Path, identity: str) -> None:
    for _ in range(2):
        _settle(store, tmp_path, identity, force=True)
        latest = _worked_on(tmp_path, identity, store, "FINISHED")
    assert len(runs_of(store, identity, None)) == 2
    assert _settle(store, tmp_path, identity)[0] == Found("finished", latest)


def test_a_forced_run_that_was_cut_off_goes_on_by_force_and_is_finished_without(
    store: Store, tmp_path: Path, identity: str
) -> None:
    first = _worked_on(tmp_path, identity, store, "FINISHED")
    _settle(store, tmp_path, identity, force=True)
    second = _worked_on(tmp_path, identity, store, "KILLED")
    assert second != first
    assert _settle(store, tmp_path, identity, force=True)[0] == Found("goes on", second, "killed")
    assert _settle(store, tmp_path, identity)[0] == Found("finished", first)


def test_what_another_process_works_on_with_a_folder_of_its_own_is_left_to_it(
    store: Store, tmp_path: Path, identity: str
) -> None:
    run = _in_mlflow(store, identity, beat=Heartbeat(ELSEWHERE, time.time(), 60, {}))
    found, journal = _settle(store, tmp_path, identity)
    assert found == Found("elsewhere", run.run_id, worker=ELSEWHERE)
    assert journal.run_id is None


@pytest.mark.parametrize(
    "beat",
    [
        None,
        Heartbeat(ELSEWHERE, time.time() - 1000, 60, {}),
        Heartbeat(replace(this_worker(), started=0.0), time.time(), 60, {}),
        Heartbeat(this_worker(), time.time(), 1000, {}),
    ],
    ids=["no beat", "stale", "gone", "one's own"],
)
def test_what_nobody_works_on_any_more_goes_on_here(
    store: Store, tmp_path: Path, identity: str, beat: Heartbeat | None
) -> None:
    run = _in_mlflow(store, identity, beat=beat)
    found, journal = _settle(store, tmp_path, identity)
    assert found == Found("goes on", run.run_id, "cut off")
    assert journal.run_id == run.run_id


def test_the_latest_of_several_begun_runs_goes_on(store: Store, tmp_path: Path, identity: str) -> None:
    _in_mlflow(store, identity, "FAILED")
    latest = _in_mlflow(store, identity, "KILLED")
    assert _settle(store, tmp_path, identity)[0] == Found("goes on", latest.run_id, "killed")


def test_whoever_goes_on_without_the_folder_logs_no_step_again(store: Store, tmp_path: Path, identity: str) -> None:
    run_id = _worked_on(tmp_path / "lost", identity, store, None, steps=3)
    for attempt in range(1, 4):  # cut off again and again, each time a step further
        found, journal = _settle(store, tmp_path / "new", identity)
        assert found == Found("goes on", run_id, "cut off")
        courier = Courier(journal, lambda: store, print, "run")
        journal.begin("run", {}, {HASH_TAG: identity, SWEEP_TAG: ""}, None)
        for step in range(1, 3 + attempt):
            journal.log_metrics({"train/loss": 1 / step}, step)
        assert courier.drain(0)
    history = store.client.get_metric_history(run_id, "train/loss")
    assert [(entry.step, entry.value) for entry in history] == [(step, 1 / step) for step in range(1, 6)]


def test_of_a_run_that_was_deleted_in_mlflow_nothing_is_kept(store: Store, tmp_path: Path, identity: str) -> None:
    store.client.delete_run(_worked_on(tmp_path, identity, store, "KILLED"))
    found, journal = _settle(store, tmp_path, identity)
    assert found == Found("new")
    assert (journal.run_id, journal.exists, _has_checkpoints(tmp_path)) == (None, False, False)


def test_a_journal_of_another_run_is_forgotten(store: Store, tmp_path: Path, identity: str) -> None:
    store.client.delete_run(_worked_on(tmp_path, identity, store, "KILLED", steps=1))
    other = _in_mlflow(store, identity, "KILLED")
    other.log_metrics({"train/loss": 0.5}, 2)
    found, journal = _settle(store, tmp_path, identity)
    assert found == Found("goes on", other.run_id, "killed")
    assert (journal.run_id, journal.exists, _has_checkpoints(tmp_path)) == (other.run_id, False, False)
    journal.log_metrics({"train/loss": 0.5}, 1)
    journal.log_metrics({"train/loss": 0.5}, 2)
    assert [entry["step"] for _, entry in journal.pending()] == [1], "what the other has is known"


def test_a_run_that_mlflow_never_heard_of_goes_on_once_mlflow_is_back(
    store: Store, tmp_path: Path, identity: str
) -> None:
    _worked_on(tmp_path, identity, None)
    found, journal = _settle(store, tmp_path, identity)
    assert found == Found("goes on", before="cut off")
    assert (journal.exists, _has_checkpoints(tmp_path)) == (True, True)


def test_a_run_that_was_finished_while_mlflow_was_away_is_sent_and_finished(
    store: Store, tmp_path: Path, identity: str
) -> None:
    _worked_on(tmp_path, identity, None, "FINISHED")
    found, _ = _settle(store, tmp_path, identity)
    (run,) = runs_of(store, identity, None)
    assert found == Found("finished", run.info.run_id)
    assert run.info.status == "FINISHED"
    assert len(store.client.get_metric_history(run.info.run_id, "train/loss")) == 2


@pytest.mark.parametrize(
    ("ended", "found"),
    [
        ("FINISHED", Found("finished")),
        ("KILLED", Found("goes on", before="killed")),
        ("FAILED", Found("goes on", before="failed")),
        (None, Found("goes on", before="cut off")),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_while_mlflow_is_away_the_folder_is_believed(
    store: Store, tmp_path: Path, identity: str, ended: Status | None, found: Found, known: bool
) -> None:
    run_id = _worked_on(tmp_path, identity, store if known else None, ended)
    assert _settle(None, tmp_path, identity)[0] == replace(found, run_id=run_id or None)
    assert _has_checkpoints(tmp_path)


def test_while_mlflow_is_away_force_makes_what_is_finished_new_and_nothing_else(tmp_path: Path, identity: str) -> None:
    _worked_on(tmp_path / "cut", identity, None, "KILLED")
    assert _settle(None, tmp_path / "cut", identity, force=True)[0] == Found("goes on", before="killed")
    _worked_on(tmp_path / "whole", identity, None, "FINISHED")
    found, journal = _settle(None, tmp_path / "whole", identity, force=True)
    assert (found, journal.exists, _has_checkpoints(tmp_path / "whole")) == (Found("new"), False, False)


def test_checkpoints_without_a_journal_belong_to_nothing_that_is_known(tmp_path: Path, identity: str) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    assert _settle(None, tmp_path, identity)[0] == Found("new")
    assert not _has_checkpoints(tmp_path)


def test_what_somebody_left_who_was_killed_while_writing_is_removed(
    store: Store, tmp_path: Path, identity: str
) -> None:
    (tmp_path / "checkpoints").mkdir()
    left = [tmp_path / ".partial-a1.json", tmp_path / "checkpoints" / ".partial-b2.ckpt"]
    kept = [tmp_path / "partial.json", tmp_path / "checkpoints" / "last.ckpt"]
    for file in [*left, *kept]:
        file.touch()
    _worked_on(tmp_path, identity, store, "KILLED")
    _settle(store, tmp_path, identity)
    assert [file.exists() for file in [*left, *kept]] == [False, False, True, True]


def test_whoever_waits_for_a_run_has_it_once_the_other_gives_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing_module, "_POLL", 0.005)
    other = take_claim(tmp_path, expires=60, worker=ELSEWHERE)
    assert isinstance(other, Claim)
    taken: list[Claim] = []
    waiting = threading.Thread(target=lambda: taken.append(await_claim(tmp_path, 60)))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    other.release()
    waiting.join(20)
    assert taken[0].worker == this_worker()


def test_whoever_waits_for_the_silent_has_the_run_after_the_time_agreed(tmp_path: Path) -> None:
    take_claim(tmp_path, expires=60, worker=ELSEWHERE, clock=lambda _: time.time() - 61)
    assert await_claim(tmp_path, 60).worker == this_worker()

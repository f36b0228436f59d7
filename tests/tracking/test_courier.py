"""What a run logs arrives in MLflow, in order and once, however often the line is cut."""

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lesionseg.errors import InputError
from lesionseg.tracking import (
    DELIVERED,
    HASH_TAG,
    HEARTBEAT_TAG,
    KEY_TAG,
    KIND_TAG,
    SWEEP_TAG,
    Courier,
    Heartbeat,
    Journal,
    Run,
    Status,
    Store,
    Worker,
    find_parent,
    is_worked_on,
    runs_of,
    start_run,
)
from lesionseg.tracking import courier as courier_module
from lesionseg.tracking import journal as journal_module

AWAY = "tracking.uri=http://mlflow: no server answers there"


class Line:
    """Between the courier and MLflow.

    Args:
        client: MLflow's.
        left: requests until it is cut; None: never.
        answers_lost: the request at which it is cut reaches MLflow all the same.
    """

    def __init__(self, client: Any, left: int | None = None, answers_lost: bool = False) -> None:
        self._client = client
        self.left = left
        self.answers_lost = answers_lost
        self.requests: list[str] = []

    def __getattr__(self, name: str) -> Any:
        request = getattr(self._client, name)

        def ask(*args: Any, **kwargs: Any) -> Any:
            from mlflow.exceptions import MlflowException

            cut = self.left is not None and self.left <= 0
            if self.left is not None:
                self.left -= 1
            answer = request(*args, **kwargs) if not cut or self.answers_lost else None
            if cut:
                raise MlflowException("the line is cut\nand more is not to be told")
            self.requests.append(name)
            return answer

        return ask


class Clock:
    """Goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(courier_module, "time", clock)
    return clock


def _never() -> Store:
    raise InputError(AWAY)


def _courier(folder: Path, connect: Callable[[], Store], lines: list[str] | None = None) -> Courier:
    """As a process has that comes anew."""
    return Courier(Journal(folder), connect, (lines if lines is not None else []).append, "run")


def _write(folder: Path, identity: str, sweep: str | None = "s", ended: Status = "FINISHED") -> Journal:
    """A whole run, of every kind of entry; 60 steps are more than go into one request."""
    journal = Journal(folder)
    tags = {HASH_TAG: identity, SWEEP_TAG: sweep or "", KIND_TAG: "run", KEY_TAG: "k", HEARTBEAT_TAG: "old"}
    journal.begin("scratch-n2-r0", {"train_size": 2, "init": "scratch"}, tags, sweep)
    (folder / "config.yaml").write_text("seed: 0\n")
    journal.log_file(folder / "config.yaml")
    journal.log_dataset("bids", "0123456789", "/scans", "training")
    for step in range(1, 61):
        journal.log_metrics({"train/loss": 1 / step}, step)
    journal.log_metrics({"val/dice": 0.5}, 60)
    (folder / "predictions").mkdir(exist_ok=True)
    (folder / "predictions" / "a.txt").write_text("a")
    journal.log_file(folder / "predictions" / "a.txt", "predictions")
    journal.set_tag("lesionseg.seconds", "12.5")
    journal.end(ended)
    return journal


def _check_whole(store: Store, identity: str, sweep: str | None = "s") -> None:
    """That the run of `_write` is there, all of it, once."""
    (run,) = runs_of(store, identity, sweep)
    run_id = run.info.run_id
    assert (run.info.run_name, run.info.status) == ("scratch-n2-r0", "FINISHED")
    assert run.data.params == {"train_size": "2", "init": "scratch"}
    assert run.data.tags["lesionseg.seconds"] == "12.5"
    assert run.data.tags.get("mlflow.parentRunId") == (find_parent(store, sweep) if sweep else None)
    history = store.client.get_metric_history(run_id, "train/loss")
    assert [(entry.step, entry.value) for entry in history] == [(step, 1 / step) for step in range(1, 61)]
    assert len(store.client.get_metric_history(run_id, "val/dice")) == 1
    assert {entry.path for entry in store.client.list_artifacts(run_id)} == {"config.yaml", "predictions"}
    (dataset,) = run.inputs.dataset_inputs
    assert (dataset.dataset.name, dataset.dataset.digest) == ("bids", "01234567")


@pytest.mark.parametrize("sweep", ["in a sweep", None])
def test_a_run_arrives_as_it_was_written_down(store: Store, tmp_path: Path, sweep: str | None) -> None:
    journal = _write(tmp_path, f"whole-{sweep}", sweep)
    line, lines = Line(store.client), list[str]()
    courier = _courier(tmp_path, lambda: replace(store, client=line), lines)
    assert courier.deliver()
    _check_whole(store, f"whole-{sweep}", sweep)
    (run,) = runs_of(store, f"whole-{sweep}", sweep)
    assert run.info.end_time == journal.pending()[-1][1]["time"], "it ended when it did, not when that arrived"
    assert Journal(tmp_path).is_delivered()
    assert Journal(tmp_path).run_id == run.info.run_id
    assert lines == [], "where all is well there is nothing to tell"
    asked = len(line.requests)
    assert courier.deliver()
    assert len(line.requests) == asked, "what has arrived is not sent again"


def test_entries_are_sent_in_the_order_in_which_they_were_written_and_metrics_together(
    store: Store, tmp_path: Path
) -> None:
    _write(tmp_path, "order", None)
    line = Line(store.client)
    _courier(tmp_path, lambda: replace(store, client=line)).deliver()
    written = ["update_run", "log_artifact", "log_inputs", "log_batch", "log_batch", "log_artifact", "set_tag"]
    assert line.requests == ["search_runs", "create_run", "log_batch", "set_tag", *written, "set_terminated"]


@pytest.mark.parametrize("answers_lost", [False, True])
def test_wherever_a_process_is_killed_the_next_one_delivers_the_rest_and_nothing_twice(
    store: Store, tmp_path: Path, answers_lost: bool
) -> None:
    """Killed at the first request, at the second, and so on: each time another one goes on from what is on the disk."""
    identity = f"cut-{answers_lost}"
    _write(tmp_path, identity)
    cuts = 0
    for requests in range(20):
        line = Line(store.client, requests, answers_lost)
        if _courier(tmp_path, lambda line=line: replace(store, client=line)).deliver():  # type: ignore[misc]
            break
        cuts += 1
    assert cuts >= 3
    _check_whole(store, identity)


def test_what_arrived_and_was_not_noted_is_sent_again_and_is_there_once(store: Store, tmp_path: Path) -> None:
    journal = _write(tmp_path, "unnoted")
    states = []
    mark = journal.mark_delivered

    def remember(offset: int) -> None:
        states.append((tmp_path / DELIVERED).read_bytes())
        mark(offset)

    journal.mark_delivered = remember  # type: ignore[method-assign]
    Courier(journal, lambda: store, print, "run").deliver()
    assert len(states) > 8
    for state in states:
        (tmp_path / DELIVERED).write_bytes(state)
        assert _courier(tmp_path, lambda: store).deliver()
        _check_whole(store, "unnoted")


def test_a_run_that_was_made_and_not_noted_is_found_again(store: Store, tmp_path: Path) -> None:
    _write(tmp_path, "unnoted run", None)
    left = start_run(store, "scratch-n2-r0", params={}, tags={HASH_TAG: "unnoted run", SWEEP_TAG: ""})
    assert _courier(tmp_path, lambda: store).deliver()
    assert Journal(tmp_path).run_id == left.run_id
    assert len(runs_of(store, "unnoted run", None)) == 1


def test_beside_a_finished_run_a_new_one_is_made(store: Store, tmp_path: Path) -> None:
    _write(tmp_path, "forced", None)
    start_run(store, "run", params={}, tags={HASH_TAG: "forced", SWEEP_TAG: ""}).set_status("FINISHED")
    assert _courier(tmp_path, lambda: store).deliver()
    assert len(runs_of(store, "forced", None)) == 2


def test_a_run_that_goes_on_stays_the_run_that_it_was(store: Store, tmp_path: Path) -> None:
    _write(tmp_path, "goes on", None, ended="KILLED")
    assert _courier(tmp_path, lambda: store).deliver()
    (run,) = runs_of(store, "goes on", None)
    assert run.info.status == "KILLED"
    _write(tmp_path, "goes on", None)
    assert _courier(tmp_path, lambda: store).deliver()
    _check_whole(store, "goes on", None)
    assert runs_of(store, "goes on", None)[0].info.run_id == run.info.run_id


def test_a_run_that_goes_on_is_thought_dead_at_no_moment(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tags(heard: float) -> dict[str, str]:
        beat = Heartbeat(Worker("far", "far", 1, 0.0), heard, 60, {}).to_text()
        return {HASH_TAG: "thought dead", SWEEP_TAG: "", HEARTBEAT_TAG: beat}

    left = start_run(store, "run", params={}, tags=tags(time.time() - 1000))
    left.set_status("KILLED")
    Journal(tmp_path).begin("run", {}, tags(time.time()), None)
    set_status, seen = Run.set_status, list[bool]()

    def look(run: Run, status: Status, end_time: int | None = None) -> None:
        set_status(run, status, end_time)
        seen.append(is_worked_on(store.client.get_run(run.run_id)))

    monkeypatch.setattr(Run, "set_status", look)
    assert _courier(tmp_path, lambda: store).deliver()
    assert seen == [True]


def test_files_that_are_not_there_any_more_hold_nothing_up(store: Store, tmp_path: Path) -> None:
    _write(tmp_path, "vanished", None)
    (tmp_path / "predictions" / "a.txt").unlink()
    assert _courier(tmp_path, lambda: store).deliver()
    (run,) = runs_of(store, "vanished", None)
    assert run.info.status == "FINISHED"
    assert [entry.path for entry in store.client.list_artifacts(run.info.run_id)] == ["config.yaml"]


def test_one_line_tells_that_mlflow_is_away_and_one_that_it_is_back(store: Store, tmp_path: Path, clock: Clock) -> None:
    _write(tmp_path, "away", None)
    calls, fault, lines = [], [AWAY], list[str]()

    def connect() -> Store:
        calls.append(clock.now)
        if fault:
            raise InputError(fault[0])
        return store

    courier = _courier(tmp_path, connect, lines)
    for _ in range(1000):  # a second each
        assert not courier.deliver()
        clock.now += 1
    assert lines == [f"run  MLflow does not take what is logged; the work goes on, and it is kept: {AWAY}"]
    pauses = [later - earlier for earlier, later in pairwise(calls)]
    assert pauses[:7] == [2, 4, 8, 16, 32, 60, 60], "asked less and less often, and once a minute for ever"
    assert set(pauses[7:]) == {60}
    fault.clear()
    clock.now += 60
    assert courier.deliver()
    assert lines[1:] == ["run  MLflow is back, and has everything that was kept for it"]
    assert courier.deliver()
    assert len(lines) == 2
    _check_whole(store, "away", None)


def test_after_mlflow_was_back_it_may_go_again(store: Store, tmp_path: Path, clock: Clock) -> None:
    journal = _write(tmp_path, "twice", None)
    line, lines = Line(store.client), list[str]()
    courier = Courier(journal, lambda: replace(store, client=line), lines.append, "run")
    assert courier.deliver()
    for number in range(2):
        line.left = 0
        journal.set_tag("number", str(number))
        assert not courier.deliver()
        line.left = None
        clock.now += 1.9
        assert not courier.deliver(), "the pause is the first one again"
        clock.now += 0.2
        assert courier.deliver()
    away = "run  MLflow does not take what is logged; the work goes on, and it is kept: the line is cut"
    assert lines == [away, "run  MLflow is back, and has everything that was kept for it"] * 2
    (run,) = runs_of(store, "twice", None)
    assert run.data.tags["number"] == "1"


@pytest.mark.parametrize(("limit", "slept"), [(0.0, []), (1.0, []), (10.0, [2.0, 4.0]), (30.0, [2.0, 4.0, 8.0])])
def test_to_drain_is_to_try_for_as_long_as_was_said(
    tmp_path: Path, clock: Clock, limit: float, slept: list[float]
) -> None:
    _write(tmp_path, "limit")
    assert not _courier(tmp_path, _never).drain(limit)
    assert clock.slept == slept
    assert sum(slept) <= limit


def test_to_drain_is_to_stop_once_nothing_waits(store: Store, tmp_path: Path, clock: Clock) -> None:
    _write(tmp_path, "drain", None)

    def back_after_five_seconds() -> Store:
        return store if clock.now > 105 else _never()

    courier = _courier(tmp_path, back_after_five_seconds)
    assert courier.drain(60)
    assert clock.slept == [2.0, 4.0]
    _check_whole(store, "drain", None)
    assert courier.drain(0)


def test_to_drain_is_to_try_at_once_even_moments_after_a_failure(store: Store, tmp_path: Path, clock: Clock) -> None:
    _write(tmp_path, "at once", None)
    line = Line(store.client, 0)
    courier = _courier(tmp_path, lambda: replace(store, client=line))
    assert not courier.deliver()
    line.left = None
    assert not courier.deliver()
    assert courier.drain(0)
    assert clock.slept == []


def test_the_end_is_noted_and_delivered(store: Store, tmp_path: Path) -> None:
    _write(tmp_path, "end", None, ended="KILLED")
    courier = _courier(tmp_path, lambda: store)
    assert courier.end("FINISHED", 0)
    _check_whole(store, "end", None)
    assert not _courier(tmp_path, _never).end("FAILED", 0)
    assert Journal(tmp_path).ended == "FAILED", "kept, where it cannot be sent"


def test_on_a_full_disk_the_end_is_told_to_mlflow_all_the_same(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = _write(tmp_path, "full", None, ended="RUNNING")
    courier = Courier(journal, lambda: store, print, "run")
    assert courier.deliver()

    def full(path: Path, line: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal_module, "_write_line", full)
    assert not courier.end("FAILED", 0)
    (run,) = runs_of(store, "full", None)
    assert run.info.status == "FAILED"
    assert not _courier(tmp_path, _never).end("FAILED", 0), "and where MLflow is away, too, nothing is raised"


def test_a_heartbeat_is_a_tag_of_the_run_while_mlflow_is_there(store: Store, tmp_path: Path) -> None:
    def tag() -> str:
        (run,) = runs_of(store, "beat", None)
        return str(run.data.tags[HEARTBEAT_TAG])

    journal = _write(tmp_path, "beat", None)
    line, lines = Line(store.client), list[str]()
    courier = Courier(journal, lambda: replace(store, client=line), lines.append, "run")
    courier.heartbeat("before there is a run")
    assert courier.deliver()
    assert tag() == "old", "as the run began"
    courier.heartbeat("alive")
    assert tag() == "alive"
    line.left = 0
    courier.heartbeat("lost")
    assert (tag(), lines) == ("alive", []), "it does not arrive, and that is all"
    journal.set_tag("a", "b")
    assert not courier.deliver()
    line.left = None
    asked = len(line.requests)
    courier.heartbeat("not even tried")
    assert len(line.requests) == asked

"""A sweep in a real store: its one parent, its grid, and how far each configuration is."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lesionseg.tracking import (
    COMMAND_TAG,
    ERROR_TAG,
    HASH_TAG,
    HEARTBEAT_TAG,
    KEY_TAG,
    KIND_TAG,
    SECONDS_TAG,
    SWEEP_TAG,
    Heartbeat,
    Run,
    RunState,
    Store,
    Worker,
    add_to_grid,
    bury_dead,
    close_sweep,
    find_parent,
    read_grid,
    start_run,
    sweep_children,
    sweep_parent,
    sweep_states,
    this_worker,
)
from lesionseg.tracking import sweeps as sweeps_module

ELSEWHERE = Worker("far", "far", 1, 0.0)
GONE = replace(this_worker(), started=0.0)


def _beat(worker: Worker = ELSEWHERE, ago: float = 0.0) -> Heartbeat:
    return Heartbeat(worker, time.time() - ago, 60.0, {"phase": "training", "step": 3})


def _child(
    store: Store, sweep: str, key: str = "k", status: str = "FINISHED", beat: Heartbeat | None = None, **tags: str
) -> Run:
    own = {SWEEP_TAG: sweep, HASH_TAG: f"hash-{key}", KIND_TAG: "run", KEY_TAG: key, **tags}
    if beat is not None:
        own[HEARTBEAT_TAG] = beat.to_text()
    params = {"init": "scratch", "train_size": 5, "repeat": 1}
    run = start_run(store, f"run-{key}", params=params, tags=own, parent=sweep_parent(store, sweep))
    if status != "RUNNING":
        run.set_status(status)  # type: ignore[arg-type]
    return run


def _grid(*keys: str) -> list[dict[str, Any]]:
    return [{"key": key, "name": f"run-{key}", "init": "scratch", "train_size": 5, "repeat": 1} for key in keys]


def _status(store: Store, run_id: str) -> str:
    return str(store.client.get_run(run_id).info.status)


def test_a_sweep_has_one_parent_that_is_no_child(store: Store) -> None:
    assert find_parent(store, "family") is None
    parent = sweep_parent(store, "family")
    children = [_child(store, "family", str(number)).run_id for number in range(3)]
    assert sweep_parent(store, "family") == find_parent(store, "family") == parent
    assert [run.info.run_id for run in sweep_children(store, "family")] == children
    assert {run.data.tags["mlflow.parentRunId"] for run in sweep_children(store, "family")} == {parent}
    found = store.client.get_run(parent)
    assert (found.info.run_name, found.info.status) == ("family", "RUNNING")
    assert (found.data.tags[SWEEP_TAG], found.data.tags[KIND_TAG]) == ("family", "sweep")


def test_of_two_parents_the_oldest_is_everybodys(store: Store) -> None:
    tags = {SWEEP_TAG: "two", KIND_TAG: "sweep"}
    created = [
        store.client.create_run(store.experiment_id, run_name="two", tags=tags, start_time=start).info.run_id
        for start in (2000, 1000, 3000)
    ]
    assert find_parent(store, "two") == sweep_parent(store, "two") == created[1]


def test_whoever_was_slower_removes_its_own_parent(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    parents: Callable[[Store, str], list[str]] = sweeps_module._parents
    tags = {SWEEP_TAG: "race", KIND_TAG: "sweep"}
    faster: list[str] = []

    def another_computer_is_faster(store: Store, sweep: str) -> list[str]:
        found = parents(store, sweep)
        if not faster:
            run = store.client.create_run(store.experiment_id, run_name="race", tags=tags, start_time=1000)
            faster.append(run.info.run_id)
        return found

    monkeypatch.setattr(sweeps_module, "_parents", another_computer_is_faster)
    assert sweep_parent(store, "race") == faster[0]
    assert parents(store, "race") == faster


def test_a_deleted_child_is_none(store: Store) -> None:
    store.client.delete_run(_child(store, "deleted").run_id)
    assert sweep_children(store, "deleted") == []
    assert sweep_states(store, "deleted") == []


def test_the_children_come_by_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    children = [_child(store, "pages", str(number)).run_id for number in range(5)]
    search = store.client.search_runs
    monkeypatch.setattr(
        store.client, "search_runs", lambda *args, max_results, **rest: search(*args, max_results=2, **rest)
    )
    assert [run.info.run_id for run in sweep_children(store, "pages")] == children


def test_the_grid_grows_and_keeps_the_order_in_which_it_was_asked_for(store: Store) -> None:
    assert read_grid(store, "grid") == []
    add_to_grid(store, "grid", _grid("b", "a"), "lesionseg train")
    add_to_grid(store, "grid", _grid("c", "a"), "lesionseg train")
    assert read_grid(store, "grid") == _grid("b", "a", "c")
    add_to_grid(store, "grid", [{**_grid("a")[0], "also": "seed=1"}], "lesionseg train")
    assert read_grid(store, "grid") == [*_grid("b"), {**_grid("a")[0], "also": "seed=1"}, *_grid("c")]


def test_asking_again_makes_a_sweep_run_again(store: Store) -> None:
    add_to_grid(store, "again", _grid("a"), "lesionseg train")
    parent = sweep_parent(store, "again")
    Run(store, parent).set_status("FINISHED")
    add_to_grid(store, "again", _grid("a"), "lesionseg train")
    assert _status(store, parent) == "RUNNING"


def test_the_commands_that_asked_are_written_down_once_each(store: Store) -> None:
    for command in ("lesionseg train -m a=1,2", "lesionseg train -m a=3", "lesionseg train -m a=1,2"):
        add_to_grid(store, "commands", _grid("a"), command)
    tags = store.client.get_run(sweep_parent(store, "commands")).data.tags
    assert tags[COMMAND_TAG] == "lesionseg train -m a=1,2\nlesionseg train -m a=3"


def test_a_sweep_without_a_grid_has_none(store: Store) -> None:
    sweep_parent(store, "gridless")
    assert read_grid(store, "gridless") == []
    assert sweep_states(store, "nobody ever asked") == []


def test_each_configuration_is_waiting_running_finished_failed_or_killed(store: Store) -> None:
    add_to_grid(
        store,
        "states",
        _grid("finished", "waiting", "running", "failed", "killed", "dead", "stale", "mute"),
        "lesionseg train",
    )
    finished = _child(store, "states", "finished", beat=_beat(), **{SECONDS_TAG: "12.5", ERROR_TAG: "of before"})
    running = _child(store, "states", "running", "RUNNING", _beat())
    _child(store, "states", "failed", "FAILED", **{ERROR_TAG: "ValueError: no"})
    _child(store, "states", "killed", "KILLED", _beat())
    _child(store, "states", "dead", "RUNNING", _beat(GONE))
    _child(store, "states", "stale", "RUNNING", _beat(ago=100))
    _child(store, "states", "mute", "RUNNING")
    states = {state.entry["key"]: state for state in sweep_states(store, "states")}
    assert {key: state.state for key, state in states.items()} == {
        "finished": "finished",
        "waiting": "waiting",
        "running": "running",
        "failed": "failed",
        "killed": "killed",
        "dead": "killed",
        "stale": "killed",
        "mute": "killed",
    }
    progress = {"phase": "training", "step": 3}
    assert states["running"] == RunState(_grid("running")[0], "running", running.run_id, ELSEWHERE, progress)
    assert states["waiting"] == RunState(_grid("waiting")[0], "waiting")
    assert (states["finished"].run_id, states["finished"].seconds) == (finished.run_id, 12.5)
    assert (states["failed"].error, states["finished"].error) == ("ValueError: no", "")
    assert (states["dead"].worker, states["mute"].worker, states["mute"].progress) == (GONE, None, {})


def test_of_several_runs_of_a_configuration_the_finished_one_counts_else_the_latest(store: Store) -> None:
    for status in ("FAILED", "FINISHED", "KILLED"):
        _child(store, "several", "a", status)
    for status in ("FAILED", "KILLED"):
        _child(store, "several", "b", status)
    found = [(state.entry["key"], state.state) for state in sweep_states(store, "several")]
    assert found == [("a", "finished"), ("b", "killed")]


def test_runs_that_nobody_wrote_down_come_after_the_grid(store: Store) -> None:
    _child(store, "older", "x")
    tags = {SWEEP_TAG: "older", KIND_TAG: "run"}  # as before there was a grid
    bare = start_run(store, "bare", params={"init": "pretrained"}, tags=tags, parent=sweep_parent(store, "older"))
    add_to_grid(store, "older", _grid("a"), "lesionseg train")
    assert [state.entry for state in sweep_states(store, "older")] == [
        *_grid("a"),
        *_grid("x"),
        {"key": bare.run_id, "name": "bare", "init": "pretrained"},
    ]


def test_only_the_dead_are_buried(store: Store) -> None:
    runs = {
        "here": _child(store, "bury", "here", "RUNNING", _beat(this_worker())),
        "far": _child(store, "bury", "far", "RUNNING", _beat()),
        "gone": _child(store, "bury", "gone", "RUNNING", _beat(GONE)),
        "silent": _child(store, "bury", "silent", "RUNNING", _beat(ago=100)),
        "failed": _child(store, "bury", "failed", "FAILED", _beat(GONE)),
    }
    assert [run.info.run_name for run in bury_dead(store, "bury")] == ["run-gone", "run-silent"]
    assert {name: _status(store, run.run_id) for name, run in runs.items()} == {
        "here": "RUNNING",
        "far": "RUNNING",
        "gone": "KILLED",
        "silent": "KILLED",
        "failed": "FAILED",
    }
    assert bury_dead(store, "bury") == []


@pytest.mark.parametrize(
    ("children", "waiting", "status"),
    [
        (("FINISHED", "FINISHED"), False, "FINISHED"),
        (("FINISHED", "FAILED"), False, "FAILED"),
        (("FAILED",), False, "FAILED"),
        (("FINISHED", "FAILED", "KILLED"), False, "KILLED"),
        (("FINISHED", "FAILED"), True, "KILLED"),
        ((), True, "KILLED"),
        (("FINISHED", "KILLED", "RUNNING"), True, "RUNNING"),
        ((), False, "RUNNING"),
    ],
)
def test_the_parents_status_comes_from_the_configurations(
    store: Store, children: tuple[str, ...], waiting: bool, status: str
) -> None:
    sweep = "-".join(("close", str(waiting), *children))
    parent = sweep_parent(store, sweep)
    if waiting:
        add_to_grid(store, sweep, _grid("waiting"), "lesionseg train")
    for number, child in enumerate(children):
        _child(store, sweep, str(number), child, _beat())
    states = close_sweep(store, sweep)
    expected = ["waiting"] * waiting + [child.lower() for child in children]
    assert [state.state for state in states] == expected
    assert _status(store, parent) == status


def test_closing_buries_the_dead(store: Store) -> None:
    dead = _child(store, "close-dead", "a", "RUNNING", _beat(GONE))
    assert [state.state for state in close_sweep(store, "close-dead")] == ["killed"]
    assert (_status(store, dead.run_id), _status(store, sweep_parent(store, "close-dead"))) == ("KILLED", "KILLED")


def test_a_sweep_that_is_not_there_is_not_made_by_closing_it(store: Store) -> None:
    assert close_sweep(store, "never") == []
    assert find_parent(store, "never") is None


def test_the_grid_is_an_artifact_that_people_can_read(store: Store, tmp_path: Path) -> None:
    add_to_grid(store, "readable", _grid("a"), "lesionseg train")
    parent = sweep_parent(store, "readable")
    file = store.client.download_artifacts(parent, "grid.json", str(tmp_path))
    assert json.loads(Path(file).read_text()) == _grid("a")

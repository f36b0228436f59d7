"""A sweep in MLflow: one parent run that holds the grid, and a child for each configuration."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from filelock import FileLock

from lesionseg.data.files import write_json
from lesionseg.tracking.heartbeat import heartbeat_of, is_worked_on
from lesionseg.tracking.runs import Run, fetch_artifact
from lesionseg.tracking.store import Store
from lesionseg.tracking.tags import COMMAND_TAG, ERROR_TAG, KEY_TAG, KIND_TAG, SECONDS_TAG, SWEEP_TAG
from lesionseg.tracking.worker import Worker

GRID = "grid.json"
GridEntry = Mapping[str, Any]
"""``key``, ``name``, ``init``, ``train_size`` and ``repeat`` of a configuration that was asked for."""
State = Literal["waiting", "running", "finished", "failed", "killed"]
STATES: tuple[State, ...] = ("finished", "running", "waiting", "killed", "failed")


@dataclass(frozen=True)
class RunState:
    """How far one configuration of a sweep is.

    Args:
        entry: of the grid.
        state: ``killed``: it was cut off, and goes on when the sweep is started again.
        run_id: its run in MLflow; None: it has none yet.
        worker: who works on it, or did when it was cut off.
        progress: what the worker last said of it; empty where nothing is known.
        seconds: that it took, where it was finished without interruption.
        error: the first line of what made it fail.
    """

    entry: GridEntry
    state: State
    run_id: str | None = None
    worker: Worker | None = None
    progress: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    error: str = ""


def sweep_parent(store: Store, sweep: str) -> str:
    """The run id of a sweep's parent run; made by whoever asks first."""
    with FileLock(store.lock):
        found = _parents(store, sweep)
        if found:
            return found[0]
        tags = {SWEEP_TAG: sweep, KIND_TAG: "sweep"}
        own = str(store.client.create_run(store.experiment_id, run_name=sweep, tags=tags).info.run_id)
        first = _parents(store, sweep)[0]
        if first != own:  # another computer, which shares the server and not the lock, was faster
            store.client.delete_run(own)
        return first


def find_parent(store: Store, sweep: str) -> str | None:
    """The run id of a sweep's parent run; None: there is no such sweep."""
    return next(iter(_parents(store, sweep)), None)


def sweep_children(store: Store, sweep: str) -> list[Any]:
    """All runs of a sweep but its parent, oldest first, as MLflow's entities."""
    query = f"tags.`{SWEEP_TAG}` = '{sweep}' and tags.`{KIND_TAG}` = 'run'"
    found: list[Any] = []
    token: str | None = None
    while True:
        page = store.client.search_runs([store.experiment_id], filter_string=query, max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return sorted(found, key=lambda run: run.info.start_time)


def add_to_grid(store: Store, sweep: str, entries: Sequence[GridEntry], command: str) -> None:
    """Write down in the parent run, ``grid.json``, which configurations were asked for, beside those of before, and by
    which command; the parent is RUNNING from here on."""
    parent = sweep_parent(store, sweep)
    with FileLock(store.lock), TemporaryDirectory() as folder:
        known = {entry["key"]: entry for entry in _read_grid(store, parent)}
        grid = {**known, **{entry["key"]: entry for entry in entries}}
        if grid != known:
            write_json(Path(folder) / GRID, [dict(entry) for entry in grid.values()])
            Run(store, parent).log_file(Path(folder) / GRID)
        asked = store.client.get_run(parent).data.tags.get(COMMAND_TAG, "").splitlines()
        if command not in asked:
            Run(store, parent).set_tag(COMMAND_TAG, "\n".join([*asked, command]))
    Run(store, parent).set_status("RUNNING")


def read_grid(store: Store, sweep: str) -> list[GridEntry]:
    """Every configuration that was asked for in a sweep, in the order of asking; empty where nobody wrote it down."""
    parent = find_parent(store, sweep)
    return [] if parent is None else _read_grid(store, parent)


def sweep_states(store: Store, sweep: str) -> list[RunState]:
    """How far each configuration is: those of the grid in its order, then runs that are not in it.

    Of several runs of one configuration the latest finished one counts, else the latest.
    """
    grid = {entry["key"]: entry for entry in read_grid(store, sweep)}
    runs: dict[str, Any] = {}
    for run in sweep_children(store, sweep):
        key = run.data.tags.get(KEY_TAG) or run.info.run_id
        if key not in runs or run.info.status == "FINISHED" or runs[key].info.status != "FINISHED":
            runs[key] = run
    entries = {**grid, **{key: _entry(key, run) for key, run in runs.items() if key not in grid}}
    return [_state(entry, runs.get(key)) for key, entry in entries.items()]


def bury_dead(store: Store, sweep: str) -> list[Any]:
    """Mark as KILLED what is RUNNING although nobody works on it any more; the runs, as MLflow's entities."""
    dead = [run for run in sweep_children(store, sweep) if run.info.status == "RUNNING" and not is_worked_on(run)]
    for run in dead:
        Run(store, run.info.run_id).set_status("KILLED")
    return dead


def close_sweep(store: Store, sweep: str) -> list[RunState]:
    """Give the parent run the status that its configurations make, and bury the dead.

    FINISHED if they all are; untouched while one is being worked on; KILLED where one was cut off or is waiting; else
    FAILED.
    """
    bury_dead(store, sweep)
    states = sweep_states(store, sweep)
    found = {state.state for state in states}
    parent = find_parent(store, sweep)
    if parent is not None and found and "running" not in found:
        status = "FINISHED" if found == {"finished"} else "KILLED" if found & {"killed", "waiting"} else "FAILED"
        Run(store, parent).set_status(status)  # type: ignore[arg-type]
    return states


def _parents(store: Store, sweep: str) -> list[str]:
    """The oldest first: whoever looks chooses the same."""
    query = f"tags.`{SWEEP_TAG}` = '{sweep}' and tags.`{KIND_TAG}` = 'sweep'"
    found = store.client.search_runs([store.experiment_id], filter_string=query)
    return [str(run.info.run_id) for run in sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))]


def _read_grid(store: Store, parent: str) -> list[GridEntry]:
    with TemporaryDirectory() as folder:
        file = fetch_artifact(store, parent, GRID, Path(folder))
        content: list[GridEntry] = [] if file is None else json.loads(file.read_text(encoding="utf-8"))
    return content


def _entry(key: str, run: Any) -> GridEntry:
    params = run.data.params
    numbers = {name: int(params[name]) for name in ("train_size", "repeat") if name in params}
    return {"key": key, "name": run.info.run_name, "init": params.get("init", ""), **numbers}


def _state(entry: GridEntry, run: Any | None) -> RunState:
    if run is None:
        return RunState(entry, "waiting")
    beat, tags = heartbeat_of(run), run.data.tags
    state: State = "killed"
    if run.info.status in ("FINISHED", "FAILED"):
        state = run.info.status.lower()
    elif is_worked_on(run):
        state = "running"
    return RunState(
        entry,
        state,
        run_id=run.info.run_id,
        worker=beat.worker if beat else None,
        progress=beat.progress if beat else {},
        seconds=float(tags[SECONDS_TAG]) if SECONDS_TAG in tags else None,
        error=tags.get(ERROR_TAG, "") if state == "failed" else "",
    )

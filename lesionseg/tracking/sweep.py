"""A sweep: its grid and states, kept in its folder of run directories and in a parent run in MLflow."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from filelock import FileLock

from lesionseg.io import write_json
from lesionseg.tracking.artifacts import artifacts_of
from lesionseg.tracking.mlflow_store import (
    COMMAND_TAG,
    ERROR_TAG,
    KEY_TAG,
    KIND_TAG,
    SECONDS_TAG,
    SWEEP_TAG,
    Run,
    Store,
)
from lesionseg.tracking.run_dir import RunDir

_log = logging.getLogger(__name__)
GRID = "grid.json"
GridEntry = Mapping[str, Any]
"""``key``, ``name``, ``init``, ``train_size`` and ``repeat`` of a configuration that was asked for."""
State = Literal["waiting", "running", "finished", "failed", "interrupted"]
STATES: tuple[State, ...] = ("finished", "running", "waiting", "interrupted", "failed")
_ENDED: Mapping[str, State] = {"FINISHED": "finished", "FAILED": "failed"}


@dataclass(frozen=True)
class RunState:
    """How far one configuration of a sweep is."""

    entry: GridEntry  # of the grid
    state: State  # ``interrupted``: it goes on when the sweep is started again
    worker: str = ""  # the process that works on it, or did
    progress: Mapping[str, Any] = field(default_factory=dict)  # phase, step and seconds left, as far as they are known
    seconds: float | None = None  # that it took, where it was finished without interruption
    error: str = ""  # the first line of what made it fail


def sweep_parent(store: Store, sweep: str) -> str:
    """Return the run id of a sweep's parent run; whoever asks first makes it."""
    with FileLock(store.lock):
        found = find_parent(store, sweep)
        if found is not None:
            return found
        tags = {SWEEP_TAG: sweep, KIND_TAG: "sweep"}
        own = str(store.client.create_run(store.experiment_id, run_name=sweep, tags=tags).info.run_id)
        first = find_parent(store, sweep)
        if first != own:  # another computer, which shares the server and not the lock, was faster
            store.client.delete_run(own)
        return first or own


def find_parent(store: Store, sweep: str) -> str | None:
    """Return the run id of a sweep's parent run, the oldest one; None: there is no such sweep."""
    found = store.search(f"tags.`{SWEEP_TAG}` = '{sweep}' and tags.`{KIND_TAG}` = 'sweep'")
    return str(found[0].info.run_id) if found else None


def sweep_children(store: Store, sweep: str) -> list[Any]:
    """Return all runs of a sweep but its parent, oldest first, as MLflow's entities."""
    return store.search(f"tags.`{SWEEP_TAG}` = '{sweep}' and tags.`{KIND_TAG}` = 'run'")


def add_to_grid(store: Store | None, folder: Path, entries: Sequence[GridEntry], command: str) -> None:
    """Note which configurations were asked for, beside those of before, and by which command."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".grid.lock"):
        known = {entry["key"]: entry for entry in read_grid(folder)}
        grid = {**known, **{entry["key"]: entry for entry in entries}}
        write_json(folder / GRID, [dict(entry) for entry in grid.values()])
    if store is None:
        return
    parent = Run(store, sweep_parent(store, folder.name))
    parent.log_file(folder / GRID)
    asked = store.client.get_run(parent.run_id).data.tags.get(COMMAND_TAG, "").splitlines()
    if command not in asked:
        parent.set_tag(COMMAND_TAG, "\n".join([*asked, command]))
    parent.set_status("RUNNING")


def read_grid(folder: Path) -> list[GridEntry]:
    """Return every configuration that was asked for in a sweep, in the order of asking."""
    file = folder / GRID
    try:
        content: list[GridEntry] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    except ValueError:
        file.replace(aside := file.with_name(f"{file.name}.damaged"))
        _log.warning("%s is damaged; it is set aside as %s, and made anew as runs are asked for", file, aside.name)
        return []
    return content


def logged_grid(store: Store, sweep: str) -> list[GridEntry]:
    """Return the grid as MLflow has it; empty where nobody wrote it down."""
    parent = find_parent(store, sweep)
    if parent is None:
        return []
    with artifacts_of(store, store.client.get_run(parent)).open(GRID) as file:
        content: list[GridEntry] = [] if file is None else json.loads(file.read_text(encoding="utf-8"))
        return content


def local_states(folder: Path) -> list[RunState]:
    """Return how far each configuration is, as the run directories of a sweep have it; those of the grid first."""
    return _states(read_grid(folder), _local_runs(folder))


def sweep_states(store: Store | None, folder: Path) -> list[RunState]:
    """Return how far each configuration is; a run without a directory is looked up in MLflow."""
    grid, runs = read_grid(folder), _local_runs(folder)
    if store is None:
        return _states(grid, runs)
    logged: dict[str, dict[str, Any]] = {}
    for run in sweep_children(store, folder.name):
        tags = run.data.tags
        key = tags.get(KEY_TAG) or run.info.run_id
        if key not in logged or run.info.status == "FINISHED":
            status = {"status": run.info.status, "name": run.info.run_name, "error": tags.get(ERROR_TAG, "")}
            logged[key] = {**status, "tags": tags, "params": run.data.params}
    if not (grid or runs):
        grid = logged_grid(store, folder.name)
    return _states(grid, {**runs, **{key: status for key, status in logged.items() if key not in runs}})


def mark_stale_runs_killed(store: Store, folder: Path) -> None:
    """Set KILLED what is RUNNING in MLflow although no process holds the lock of its run directory."""
    held = {run_dir.read().get("tags", {}).get(KEY_TAG) for run_dir in _run_dirs(folder) if run_dir.is_locked()}
    for run in sweep_children(store, folder.name):
        if run.info.status == "RUNNING" and run.data.tags.get(KEY_TAG) not in held:
            Run(store, run.info.run_id).set_status("KILLED")


def close_sweep(store: Store, folder: Path) -> list[RunState]:
    """Give the parent run the status that its configurations make: FINISHED if they all are; untouched while one is
    being trained; KILLED where one was interrupted or is waiting; else FAILED."""
    mark_stale_runs_killed(store, folder)
    states = sweep_states(store, folder)
    found = {state.state for state in states}
    parent = find_parent(store, folder.name)
    if parent is not None and found and "running" not in found:
        open_ends = found & {"interrupted", "waiting"}
        Run(store, parent).set_status("FINISHED" if found == {"finished"} else "KILLED" if open_ends else "FAILED")
    return states


def report_progress(store: Store, sweep: str, text: str, counts: Mapping[str, int]) -> None:
    """Log a sweep's progress to its parent run, as an artifact and as metrics."""
    parent = find_parent(store, sweep)
    if parent is None:
        return
    with TemporaryDirectory() as folder:
        file = Path(folder) / "progress.txt"
        file.write_text(text, encoding="utf-8")
        Run(store, parent).log_file(file)
    total = {"sweep/runs": sum(counts.values())}
    Run(store, parent).log_now({**total, **{f"sweep/{name}": counts.get(name, 0) for name in STATES}})


def _run_dirs(folder: Path) -> list[RunDir]:
    """Return a sweep's run directories, the one that was written to last at the end."""
    files = sorted(folder.glob("*/status.json"), key=lambda file: file.stat().st_mtime)
    return [RunDir(file.parent) for file in files]


def _local_runs(folder: Path) -> dict[str, dict[str, Any]]:
    """Return by configuration what its run directory holds, of several a finished one or the last, and whether a
    process works on it (``locked``)."""
    found: dict[str, dict[str, Any]] = {}
    for run_dir in _run_dirs(folder):
        status = {**run_dir.read(), "locked": run_dir.is_locked()}
        key = status.get("tags", {}).get(KEY_TAG, run_dir.path.name)
        if key not in found or status.get("status") == "FINISHED" or found[key].get("status") != "FINISHED":
            found[key] = status
    return found


def _states(grid: Sequence[GridEntry], runs: Mapping[str, Mapping[str, Any]]) -> list[RunState]:
    """Return how far the entries of a grid are, and runs that are not in it; both by configuration."""
    entries: dict[str, GridEntry] = {entry["key"]: entry for entry in grid}
    for key, status in runs.items():
        params = status.get("params", {})
        numbers = {name: int(params[name]) for name in ("train_size", "repeat") if name in params}
        entries.setdefault(
            key, {"key": key, "name": status.get("name", key), "init": params.get("init", ""), **numbers}
        )
    return [_state(entry, runs.get(key)) for key, entry in entries.items()]


def _state(entry: GridEntry, status: Mapping[str, Any] | None) -> RunState:
    if status is None:
        return RunState(entry, "waiting")
    state = _ENDED.get(status.get("status", ""), "running" if status.get("locked") else "interrupted")
    seconds, open_end = status.get("tags", {}).get(SECONDS_TAG), state in ("running", "interrupted")
    return RunState(
        entry,
        state,
        worker=status.get("worker", "") if open_end else "",
        progress=status.get("progress", {}) if open_end else {},
        seconds=float(seconds) if seconds else None,
        error=status.get("error", "") if state == "failed" else "",
    )

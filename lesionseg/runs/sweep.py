"""The runs of a sweep, as whoever reads them afterwards wants them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lesionseg.errors import InputError
from lesionseg.report.cases import Cell
from lesionseg.report.words import joined
from lesionseg.tracking import HASH_TAG, RunState, Store, read_grid, sweep_children, sweep_states

_MOST_NAMED = 6  # runs that are not finished and told one by one
_STATES = {"waiting": "waiting", "running": "running", "killed": "cut off", "failed": "failed"}


@dataclass(frozen=True)
class SweepRuns:
    """A sweep's runs, as MLflow's entities.

    Attributes:
        finished: one for each arm, size and repeat.
        unfinished: what is said of the others, a sentence each, or all in one where they are many.
        arms: every value of init that was asked for, in that order, whether or not it has a run.
        grid: init, train_size and repeat of every run that was asked for, likewise; None where nobody wrote it down.
    """

    finished: tuple[Any, ...]
    unfinished: tuple[str, ...]
    arms: tuple[str, ...]
    grid: tuple[Cell, ...] | None


def finished_runs(store: Store, sweep: str) -> SweepRuns:
    """The finished runs of a sweep, and what is known of the others.

    Raises:
        InputError: no such sweep, none of its runs is finished, several tasks, or several configurations that share
            arm, size and repeat.
    """
    children = sweep_children(store, sweep)
    if not children:
        raise InputError(f"sweep={sweep}: there is no run of that name in {store.uri}; see lesionseg ui")
    finished = [child for child in children if child.info.status == "FINISHED"]
    tasks = sorted({child.data.params["task"] for child in finished})
    if len(tasks) > 1:
        raise InputError(f"sweep={sweep}: holds several tasks ({', '.join(tasks)}); give each its own sweep")
    if not finished:
        raise InputError(f"sweep={sweep}: none of its {len(children)} runs is finished; start it again first")
    states = sweep_states(store, sweep)
    cells = [cell for state in states if (cell := _cell(state)) is not None]
    return SweepRuns(
        finished=tuple(_one_per_cell(sweep, finished)),
        unfinished=tuple(_unfinished([state for state in states if state.state != "finished"])),
        arms=tuple(dict.fromkeys(init for init, _, _ in cells)),
        grid=tuple(dict.fromkeys(cells)) if read_grid(store, sweep) else None,
    )


def _cell(state: RunState) -> Cell | None:
    """Where it stands in the grid; None where a run was cut off before it said so."""
    entry = state.entry
    if not entry["init"] or "train_size" not in entry or "repeat" not in entry:
        return None
    return str(entry["init"]), int(entry["train_size"]), int(entry["repeat"])


def _unfinished(states: Sequence[RunState]) -> list[str]:
    if len(states) <= _MOST_NAMED:
        return [f"{state.entry['name']} is {_STATES[state.state]} and not in the table" for state in states]
    counts = Counter(_STATES[state.state] for state in states)
    told = joined([f"{counts[word]} {word}" for word in _STATES.values() if counts[word]])
    return [f"{len(states)} runs are not finished and not in the table: {told}"]


def _one_per_cell(sweep: str, runs: Sequence[Any]) -> list[Any]:
    """Of runs with the same configuration, repeated by force, the latest."""
    cells: dict[tuple[str, str, str], dict[str, Any]] = {}
    for run in runs:
        params = run.data.params
        cell = (params["init"], params["train_size"], params["repeat"])
        cells.setdefault(cell, {})[run.data.tags[HASH_TAG]] = run
    faults = []
    for cell, found in cells.items():
        if len(found) > 1:
            keys = {key for run in found.values() for key in run.data.params}
            differing = sorted(key for key in keys if len({run.data.params.get(key) for run in found.values()}) > 1)
            faults.append(
                f"sweep={sweep}: holds {len(found)} different finished runs of init={cell[0]}, train_size={cell[1]}, "
                f"repeat={cell[2]} (they differ in {', '.join(differing) or 'their config.yaml'}); give each "
                "configuration a sweep of its own, or delete the runs that do not belong"
            )
    if faults:
        raise InputError(faults)
    return [run for found in cells.values() for run in found.values()]

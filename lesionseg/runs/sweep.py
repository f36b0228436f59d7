"""The runs of a sweep, as whoever reads them afterwards wants them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lesionseg.errors import InputError
from lesionseg.tracking import HASH_TAG, Store, sweep_children


@dataclass(frozen=True)
class SweepRuns:
    """A sweep's runs, as MLflow's entities.

    Attributes:
        finished: one for each arm, size and repeat.
        unfinished: the others, a sentence each.
    """

    finished: tuple[Any, ...]
    unfinished: tuple[str, ...]


def finished_runs(store: Store, sweep: str) -> SweepRuns:
    """The finished runs of a sweep.

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
    unfinished = [child for child in children if child.info.status != "FINISHED"]
    return SweepRuns(
        tuple(_one_per_cell(sweep, finished)),
        tuple(f"{child.info.run_name} is {child.info.status.lower()} and not in the table" for child in unfinished),
    )


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

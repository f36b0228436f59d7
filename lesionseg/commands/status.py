"""``lesionseg status``: how far a sweep is. Loads no torch, and MLflow only where the run directories do not tell."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from statistics import median
from textwrap import shorten

from tabulate import tabulate

from lesionseg.config.schema import StatusConfig
from lesionseg.errors import InputError
from lesionseg.tracking.sweep import STATES, RunState, local_states, sweep_states

_WIDTH = 100  # letters of an error


def status(config: StatusConfig) -> int:
    """Print how far each configuration of a sweep is, and the whole of it; changes nothing."""
    outputs = Path(config.paths.outputs).expanduser().resolve()
    folder = outputs / "runs" / config.sweep
    states = local_states(folder)
    found = {state.state for state in states}
    if not states or ("waiting" in found and "running" not in found):  # directories may have been removed
        from lesionseg.tracking.mlflow_store import open_store

        tracking = config.tracking
        lock = outputs / ".mlflow.lock"
        store = open_store(tracking.uri, tracking.experiment, tracking.artifacts, lock, create=False)
        states = sweep_states(store, folder)
    if not states:
        raise InputError(f"sweep={config.sweep}: there is no sweep of that name in {config.tracking.uri}")
    print(state_table(states))
    print(f"\nSweep {config.sweep}: {summary(states)}.")
    return 0


def state_table(states: Sequence[RunState]) -> str:
    """Return a line per configuration: its state, where it is worked on, how far it is, and why it failed."""
    header = ["run", "state", "where", "step", "left", "error"]
    rows = []
    for state in states:
        also, progress = state.entry.get("also"), state.progress
        phase, step, left = progress.get("phase", ""), progress.get("step"), progress.get("seconds_left")
        rows.append(
            [
                f"{state.entry['name']} {also}" if also else str(state.entry["name"]),
                state.state,
                state.worker,
                phase if step is None else f"{phase}, step {step}",
                str(timedelta(seconds=round(left))) if state.state == "running" and left is not None else "",
                shorten(state.error, _WIDTH, placeholder=" ..."),
            ]
        )
    used = [column for column in range(len(header)) if column < 2 or any(row[column] for row in rows)]
    shown = [[row[column] for column in used] for row in rows]
    return tabulate(shown, [header[column] for column in used], disable_numparse=True)


def summary(states: Sequence[RunState]) -> str:
    """Return ``7 of 12 runs finished (58 %), 2 running, 3 waiting, about 0:12:00 left``."""
    counts = Counter(state.state for state in states)
    said = [f"{counts['finished']} of {len(states)} runs finished ({100 * counts['finished'] / len(states):.0f} %)"]
    said += [f"{counts[name]} {name}" for name in STATES[1:] if counts[name]]
    seconds = remaining_seconds(states)
    if seconds is not None and counts["finished"] + counts["failed"] < len(states):
        said.append(f"about {timedelta(seconds=round(seconds))} left")
    return ", ".join(said)


def remaining_seconds(states: Sequence[RunState]) -> float | None:
    """Return the seconds until all is done, with as many runs at once as there are now; None where nothing is known
    yet.

    A run takes as long as the median of those that were finished without interruption, or as what the running ones
    expect of themselves.
    """
    running = [state for state in states if state.state == "running"]
    left = [float(state.progress["seconds_left"]) for state in running if "seconds_left" in state.progress]
    whole = [state.seconds for state in states if state.seconds is not None] or left
    if not whole:
        return None
    typical = float(median(whole))
    ahead = sum(left) + typical * (len(running) - len(left))
    ahead += typical * sum(state.state in ("waiting", "interrupted") for state in states)
    return ahead / max(1, len(running))

"""How far a sweep is. The story of ``lesionseg status``."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from statistics import median
from textwrap import shorten

from tabulate import tabulate

from lesionseg.config.schema import StatusConfig
from lesionseg.errors import InputError
from lesionseg.runs.plan import store_of
from lesionseg.tracking import STATES, RunState, sweep_states

_WIDTH = 100  # letters of an error


def status(config: StatusConfig) -> int:
    """Print how far each configuration of a sweep is, and the whole of it; changes nothing.

    Returns:
        0.

    Raises:
        InputError: there is no such sweep.
    """
    states = sweep_states(store_of(config.tracking, config.paths, create=False), config.sweep)
    if not states:
        raise InputError(f"sweep={config.sweep}: there is no sweep of that name in {config.tracking.uri}")
    print(state_table(states))
    print(f"\nSweep {config.sweep}: {in_words(states)}.")
    return 0


def state_table(states: Sequence[RunState]) -> str:
    """A line per configuration: its state, where it is worked on, how far it is, and why it failed."""
    rows = [
        [
            _name(state),
            "cut off" if state.state == "killed" else state.state,
            str(state.worker) if state.worker and state.state in ("running", "killed") else "",
            _step(state),
            _left(state),
            shorten(state.error, _WIDTH, placeholder=" ..."),
        ]
        for state in states
    ]
    header = ["run", "state", "where", "step", "left", "error"]
    used = [column for column in range(len(header)) if column < 2 or any(row[column] for row in rows)]
    shown = [[row[column] for column in used] for row in rows]
    return tabulate(shown, [header[column] for column in used], disable_numparse=True)


def in_words(states: Sequence[RunState]) -> str:
    """``7 of 12 runs are finished (58 %), 2 running, 3 waiting, about 0:12:00 left``."""
    counts = Counter(state.state for state in states)
    told = [f"{counts['finished']} of {len(states)} runs finished ({counts['finished'] / len(states):.0%})"]
    names = {"killed": "cut off"}
    told += [f"{counts[name]} {names.get(name, name)}" for name in STATES[1:] if counts[name]]
    seconds = remaining_seconds(states)
    if seconds is not None and counts["finished"] + counts["failed"] < len(states):
        told.append(f"about {timedelta(seconds=round(seconds))} left")
    return ", ".join(told).replace("%", " %")


def remaining_seconds(states: Sequence[RunState]) -> float | None:
    """Until all is done, with as many at once as there are now; None where nothing is known yet.

    A run takes as long as the median of those that were finished without interruption, or as what the running ones
    expect of themselves.
    """
    running = [state for state in states if state.state == "running"]
    own: list[tuple[float, float | None]] = [
        (state.progress.get("seconds", 0.0), state.progress.get("seconds_left")) for state in running
    ]
    whole = [state.seconds for state in states if state.seconds is not None]
    whole = whole or [passed + left for passed, left in own if left is not None]
    if not whole:
        return None
    typical = float(median(whole))
    ahead = sum(max(typical - passed, left or 0.0) for passed, left in own)
    ahead += typical * sum(state.state in ("waiting", "killed") for state in states)
    return ahead / max(1, len(running))


def _name(state: RunState) -> str:
    also = state.entry.get("also")
    return f"{state.entry['name']} {also}" if also else str(state.entry["name"])


def _step(state: RunState) -> str:
    if state.state not in ("running", "killed") or "phase" not in state.progress:
        return ""
    step, phase = state.progress.get("step"), state.progress["phase"]
    return phase if step is None else f"{phase}, step {step}"


def _left(state: RunState) -> str:
    seconds = state.progress.get("seconds_left")
    return str(timedelta(seconds=round(seconds))) if state.state == "running" and seconds is not None else ""

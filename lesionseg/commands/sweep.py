"""A sweep as the process sees it that launches it: the grid, the source model, the others who share it, how it ends."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from types import TracebackType

from lesionseg.commands.plan import RunSpec, grid_entry, store_of, sweep_folder, to_paste
from lesionseg.commands.status import state_table, summary
from lesionseg.commands.train import train, wait_for
from lesionseg.config.schema import CompareConfig, TrainConfig
from lesionseg.errors import InputError
from lesionseg.tracking.artifacts import remove_broken_uploads
from lesionseg.tracking.mlflow_store import Store, fault_of
from lesionseg.tracking.run_dir import RunDir
from lesionseg.tracking.sweep import (
    RunState,
    add_to_grid,
    close_sweep,
    find_parent,
    mark_stale_runs_killed,
    report_progress,
    sweep_states,
)
from lesionseg.tracking.views import pages_root, sweep_pages

_REPORT_EVERY = 60.0  # seconds


class Sweep:
    """A sweep that is being run, while the ``with`` block lasts; its parent run in MLflow tells how far it is."""

    def __init__(self, specs: Sequence[RunSpec], also: Sequence[str], command: str) -> None:
        self._config: TrainConfig = specs[0].config
        self._folder = sweep_folder(self._config)
        self._entries = [{**grid_entry(spec.config), "also": text} for spec, text in zip(specs, also, strict=True)]
        self._keys = {entry["key"] for entry in self._entries}
        self._command = command
        for spec, text in zip(specs, also, strict=True):
            replace(spec, also=text).save()
        self._stop = threading.Event()
        self._reporter = threading.Thread(target=self._report_again, name="lesionseg sweep", daemon=True)

    def __enter__(self) -> "Sweep":
        store = self._store()
        add_to_grid(store, self._folder, self._entries, self._command)
        mark_stale_runs_killed(store, self._folder)
        parent = find_parent(store, self._folder.name)
        remove_broken_uploads(store.client.get_run(parent), older_than=_REPORT_EVERY)
        self._reporter.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._reporter.join()
        if kind is not None:
            self._close()

    def run(self, launch: Callable[[], None]) -> None:
        """Launch the jobs; again for those that were interrupted, here or there, as long as that brings others to an
        end. Wait in between for the runs that other processes work on."""
        ended = -1
        while True:
            launch()
            states, waited = self._own_states(), False
            for state in [state for state in states if state.state == "running"]:
                print(f"Waiting for {state.entry['name']}, which {state.worker} works on", flush=True)
                for path in self._folder.glob(f"{state.entry['name']}-*"):
                    wait_for(RunDir(path))
                waited = True
            states = self._own_states() if waited else states
            done = sum(state.state in ("finished", "failed") for state in states)
            left = any(state.state in ("interrupted", "waiting") for state in states)
            if not left or (done <= ended and not waited):
                return
            ended = done

    def finish(self) -> int:
        """Say how the sweep ended, and where to look; return the command's exit code."""
        sweep, states = self._folder.name, self._close()
        if not states:
            sync = to_paste("sync", self._config.paths, self._config.tracking)
            print(f"Sweep {sweep}: MLflow is away. What was logged is kept; {sync} sends it.")
            return 1
        print(f"Sweep {sweep}: {summary(states)}.")
        left = [state for state in states if state.entry["key"] in self._keys and state.state != "finished"]
        if left:
            print(f"{len(left)} of the {len(self._keys)} runs of this command are not finished:\n{state_table(left)}")
        elif {state.state for state in states} == {"finished"} and len({state.entry["init"] for state in states}) > 1:
            self._answer()
        paths, tracking = self._config.paths, self._config.tracking
        compare, ui = (to_paste(f"{name} sweep={sweep}", paths, tracking) for name in ("compare", "ui"))
        width = max(len(compare), len(ui)) + 4
        print(f"  {compare:<{width}}the answer, with tables, figures and a report")
        print(f"  {ui:<{width}}MLflow's pages; the runs with their charts are then at")

        def show_page() -> None:
            store = self._store()
            print(f"    {sweep_pages(store, sweep, pages_root(store))[0][1]}")

        fault_of(show_page)
        return 1 if left else 0

    def _answer(self) -> None:
        """Print what the arms gain, in a few sentences and a table; the report goes to the parent run."""
        from lesionseg.commands.compare import make_report
        from lesionseg.report.tables import as_text, score_table

        config = CompareConfig(
            sweep=[self._folder.name],
            tracking=self._config.tracking,
            paths=self._config.paths,
            arms=None,
            criterion=None,
            min_volume=None,
            output=None,
        )
        try:
            (comparison,), folder = make_report(config)
        except InputError as error:  # the runs are there all the same
            print(f"They cannot be compared: {error}")
            return
        table = as_text(score_table(comparison.analysis))
        print("\n".join(["", *comparison.answer, *comparison.validation, "", table, "", f"  {folder / 'report.html'}"]))

    def _store(self) -> Store:
        return store_of(self._config.tracking, self._config.paths)

    def _own_states(self) -> list[RunState]:
        """Return the states of this command's runs; of the run directories alone while MLflow is away."""
        states: list[RunState] = []
        if fault_of(lambda: states.extend(sweep_states(self._store(), self._folder))) is not None:
            states = sweep_states(None, self._folder)
        return [state for state in states if state.entry["key"] in self._keys]

    def _close(self) -> list[RunState]:
        """Close the sweep in MLflow; empty if that is away."""
        states: list[RunState] = []
        fault_of(lambda: states.extend(close_sweep(self._store(), self._folder)))
        if states:
            fault_of(lambda: self._report(states))
        return states

    def _report(self, states: Sequence[RunState]) -> None:
        text = f"{summary(states)}\n\n{state_table(states)}\n"
        report_progress(self._store(), self._folder.name, text, Counter(state.state for state in states))

    def _report_again(self) -> None:
        """Report every minute, and less often where looking takes long."""
        pause = _REPORT_EVERY
        while not self._stop.wait(pause):
            began = time.monotonic()
            fault_of(lambda: self._report(sweep_states(self._store(), self._folder)))
            pause = max(_REPORT_EVERY, 20 * (time.monotonic() - began))


def train_source(spec: RunSpec) -> str | None:
    """Train the model that a sweep starts from; return its checkpoint, None where that failed."""
    result = train(spec, position="[source]", wait=True)
    if result.status == "failed":
        print("The source model could not be trained; nothing else was started.", file=sys.stderr)
        return None
    return str(result.checkpoint or f"runs:/{result.run_id}")  # its folder may be gone since


def job_position(number: int, total: int, began: float | None) -> str:
    """Return ``[3/12, 0:10:00 left]``; without the time where jobs do not run one after the other."""
    if total < 2:
        return ""
    if began is None or not number:
        return f"[{number + 1}/{total}]"
    left = timedelta(seconds=round((time.time() - began) / number * (total - number)))
    return f"[{number + 1}/{total}, {left} left]"


def run_job(config: TrainConfig, number: int, total: int, began: float | None) -> str:
    """Make one run of a sweep, in whichever process its launcher chose; return how that ended."""
    position = job_position(number, total, began)
    try:
        return train(RunSpec.load(config), position=position).status
    except InputError as error:  # something changed since it was looked at; the other jobs may still do
        print(f"{position} {error}".strip(), flush=True)
        return "failed"

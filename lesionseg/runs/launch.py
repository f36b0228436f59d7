"""A sweep as its launching process sees it: the grid, the others who share it, and how it ends."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

from lesionseg.config.schema import CompareConfig, TrainConfig
from lesionseg.errors import InputError
from lesionseg.runs.compare import make_report
from lesionseg.runs.plan import grid_entry, store_of
from lesionseg.runs.status import in_words, state_table
from lesionseg.tracking import (
    STATES,
    Run,
    RunState,
    Store,
    add_to_grid,
    bury_dead,
    close_sweep,
    fault_of,
    find_parent,
    remove_broken_uploads,
    seed_views,
    sweep_pages,
    sweep_states,
)

_REPORT_EVERY = 60.0  # seconds
_POLL = 5.0


class Launch:
    """A sweep that is being run, while the ``with`` block lasts; its parent run in MLflow tells how far it is.

    Args:
        configs: the configurations that this command asks for, all of one sweep.
        also: of each what it differs in from the others beside init, train_size and repeat, as text.
        command: that asks for them.
    """

    def __init__(self, configs: Sequence[TrainConfig], also: Sequence[str], command: str) -> None:
        first = configs[0]
        assert first.sweep is not None
        self.sweep: str = first.sweep
        self._config = first
        self._command = command
        entries = [{**grid_entry(config), "also": text} for config, text in zip(configs, also, strict=True)]
        self._keys = [entry["key"] for entry in entries]
        self._entries = entries
        self._ended = 0
        self._stop = threading.Event()
        self._reporter = threading.Thread(target=self._report_again, name="lesionseg sweep", daemon=True)

    def __enter__(self) -> "Launch":
        store = self._store()
        bury_dead(store, self.sweep)
        add_to_grid(store, self.sweep, self._entries, self._command)
        self._ended = _ended(self._own(sweep_states(store, self.sweep)))
        parent = store.client.get_run(find_parent(store, self.sweep))
        remove_broken_uploads(parent, older_than=_REPORT_EVERY)  # of whoever launched it before
        self._reporter.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._reporter.join()
        if kind is not None:
            self._close()

    def has_more(self) -> bool:
        """Wait for the configurations that other processes work on; whether the sweep is to be gone through once more,
        since some were cut off, here or there, and the last time brought others to an end."""
        told = False
        while True:
            states = self._own(self._states())
            others = [state for state in states if state.state == "running"]
            if not others:
                break
            if not told:
                print(f"Waiting for {len(others)} of the sweep's runs, which others work on:\n{state_table(others)}")
                told = True
            time.sleep(_POLL)
        ended = _ended(states)
        left = any(state.state in ("killed", "waiting") for state in states)
        more = left and (told or ended > self._ended)
        self._ended = ended
        return more

    def finish(self) -> int:
        """Say how the sweep ended, and where to look; the command's exit code."""
        states = self._close()
        if not states:
            print(f"Sweep {self.sweep}: MLflow is away. What was logged is kept; lesionseg sync sends it.")
            return 1
        print(f"Sweep {self.sweep}: {in_words(states)}.")
        left = [state for state in self._own(states) if state.state != "finished"]
        if left:
            print(f"{len(left)} of the {len(self._keys)} runs of this command are not finished:\n{state_table(left)}")
        elif {state.state for state in states} == {"finished"} and len({state.entry["init"] for state in states}) > 1:
            self._answer()
        print(f"  lesionseg compare sweep={self.sweep}    the answer, with tables, figures and a report")
        print(f"  lesionseg ui sweep={self.sweep}         MLflow's pages; the runs with their charts are then at")
        fault_of(self._show_page)
        return 1 if left else 0

    def _answer(self) -> None:
        """What the arms gain, in a few sentences; the report goes to the parent run."""
        whole = {"arms": None, "criterion": None, "min_volume": None, "output": None}
        config = CompareConfig(sweep=[self.sweep], tracking=self._config.tracking, paths=self._config.paths, **whole)
        try:
            (comparison,), folder = make_report(config)
        except InputError as error:  # the runs are there all the same
            print(f"They cannot be compared: {error}")
            return
        print("\n".join(["", *comparison.answer, *comparison.validation.sentences, ""]))
        print(f"  {folder / 'report.html'}")

    def _show_page(self) -> None:
        """Saved views, and the page that shows the runs."""
        store = self._store()
        seed_views(store, self.sweep)
        print(f"    {sweep_pages(store, self.sweep)[0].url}")

    def _own(self, states: Sequence[RunState]) -> list[RunState]:
        return [state for state in states if state.entry["key"] in self._keys]

    def _store(self) -> Store:
        return store_of(self._config.tracking, self._config.paths)

    def _states(self) -> list[RunState]:
        """Empty while MLflow is away; the runs keep what they log."""
        states: list[RunState] = []
        fault_of(lambda: states.extend(sweep_states(self._store(), self.sweep)))
        return states

    def _close(self) -> list[RunState]:
        """Empty if MLflow is away."""
        states: list[RunState] = []

        def close() -> None:
            store = self._store()
            states.extend(close_sweep(store, self.sweep))
            _report(store, self.sweep, states)

        fault_of(close)
        return states

    def _report_again(self) -> None:
        """Every minute, and less often where looking takes long."""
        pause = _REPORT_EVERY
        while not self._stop.wait(pause):
            began = time.monotonic()
            fault_of(lambda: _report(self._store(), self.sweep, self._states()))
            pause = max(_REPORT_EVERY, 20 * (time.monotonic() - began))


def _ended(states: Sequence[RunState]) -> int:
    return sum(state.state in ("finished", "failed") for state in states)


def _report(store: Store, sweep: str, states: Sequence[RunState]) -> None:
    """The sweep's progress, as an artifact and as metrics of its parent run."""
    parent = find_parent(store, sweep)
    if parent is None or not states:
        return
    counts = Counter(state.state for state in states)
    run = Run(store, parent)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "progress.txt"
        file.write_text(f"{in_words(states)}\n\n{state_table(states)}\n", encoding="utf-8")
        run.log_file(file)
    run.log_metrics({"sweep/runs": len(states), **{f"sweep/{name}": counts[name] for name in STATES}})

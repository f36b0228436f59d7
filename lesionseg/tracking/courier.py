"""Bring what a journal holds to MLflow, in order, each entry once, whenever MLflow can be reached."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby

from lesionseg.tracking.journal import Entry, Journal, Status
from lesionseg.tracking.runs import Run, runs_of, start_run
from lesionseg.tracking.store import Store, fault_of
from lesionseg.tracking.sweeps import sweep_parent
from lesionseg.tracking.tags import HASH_TAG, HEARTBEAT_TAG

_MOST = 1000  # metrics that MLflow takes in one request
_PAUSE = (2.0, 60.0)  # seconds until the next try after a failure: at first, and at most


class Courier:
    """Delivers one journal.

    Args:
        journal: of a run whose claim this process holds.
        connect: opens the store; an `InputError` means that it cannot be reached.
        say: takes a line for the terminal.
        title: of the run, to begin such a line.
    """

    def __init__(self, journal: Journal, connect: Callable[[], Store], say: Callable[[str], None], title: str) -> None:
        self.journal = journal
        self._connect = connect
        self._say = say
        self._title = title
        self._store: Store | None = None
        self._not_before = 0.0
        self._pause = _PAUSE[0]
        self._fault: str | None = None

    def deliver(self) -> bool:
        """Deliver what waits, unless a failure was moments ago; whether nothing waits any more."""
        if time.monotonic() < self._not_before:
            return False
        fault = self._try()
        if fault is None:
            if self._fault is not None:
                self._say(f"{self._title}  MLflow is back, and has everything that was kept for it")
            self._fault, self._pause, self._not_before = None, _PAUSE[0], 0.0
            return True
        if self._fault is None:
            self._say(f"{self._title}  MLflow does not take what is logged; the work goes on, and it is kept: {fault}")
        self._fault = fault
        self._not_before = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _PAUSE[1])
        return False

    def drain(self, seconds: float) -> bool:
        """Deliver all of it, trying again for some time; whether nothing waits any more."""
        until = time.monotonic() + seconds
        self._not_before = 0.0
        while not self.deliver():
            left = min(until, self._not_before) - time.monotonic()
            if self._not_before >= until:
                return False
            time.sleep(max(0.0, left))
        return True

    def end(self, status: Status, seconds: float) -> bool:
        """Note how the run ended, and deliver all of it as `drain` does."""
        try:
            self.journal.end(status)
        except OSError:  # a full disk; MLflow may be on another one
            if self._store is not None and self.journal.run_id is not None:
                fault_of(partial(Run(self._store, self.journal.run_id).set_status, status))
            return False
        return self.drain(seconds)

    def heartbeat(self, text: str) -> None:
        """Say in a tag how far the run is; nothing is lost where it does not arrive."""
        if self._fault is None and self._store is not None and self.journal.run_id is not None:
            fault_of(partial(Run(self._store, self.journal.run_id).set_tag, HEARTBEAT_TAG, text))

    def _try(self) -> str | None:
        pending = self.journal.pending()
        return fault_of(partial(self._send, pending)) if pending else None

    def _send(self, pending: Sequence[tuple[int, Entry]]) -> None:
        if self._store is None:
            self._store = self._connect()
        for kind, group in groupby(pending, key=lambda item: item[1]["kind"]):
            entries = list(group)
            for first in range(0, len(entries), _batch(kind)):
                some = entries[first : first + _batch(kind)]
                self._deliver(self._store, [entry for _, entry in some])
                self.journal.mark_delivered(some[-1][0])

    def _deliver(self, store: Store, entries: Sequence[Entry]) -> None:
        """One request, for entries of one kind."""
        entry = entries[0]
        if entry["kind"] == "begin":
            self._begin(store, entry)
            return
        assert self.journal.run_id is not None, "a journal starts with the run's beginning"
        run = Run(store, self.journal.run_id)
        if entry["kind"] == "metrics":
            run.log_timed([(one["step"], one["time"], one["values"]) for one in entries])
        elif entry["kind"] == "file" and (self.journal.folder / entry["path"]).exists():
            run.log_file(self.journal.folder / entry["path"], entry["folder"])
        elif entry["kind"] == "dataset":
            run.log_dataset(entry["name"], entry["digest"], entry["source"], entry["context"])
        elif entry["kind"] == "tag":
            run.set_tag(entry["key"], entry["value"])
        elif entry["kind"] == "status":
            run.set_status(entry["status"], entry.get("time"))

    def _begin(self, store: Store, entry: Entry) -> None:
        """Make the run, or find the one that was made and left before it was noted; and log its params."""
        if self.journal.run_id is None:
            tags, sweep = entry["tags"], entry["sweep"]
            left = [run for run in runs_of(store, tags[HASH_TAG], sweep) if run.info.status != "FINISHED"]
            if left:
                self.journal.assign(left[-1].info.run_id)
            else:
                parent = sweep_parent(store, sweep) if sweep else None
                self.journal.assign(start_run(store, entry["name"], params={}, tags=tags, parent=parent).run_id)
        assert self.journal.run_id is not None
        run = Run(store, self.journal.run_id)
        run.log_params(entry["params"])
        if HEARTBEAT_TAG in entry["tags"]:  # before it is RUNNING: with the last beat of before it would be held dead
            run.set_tag(HEARTBEAT_TAG, entry["tags"][HEARTBEAT_TAG])


def _batch(kind: str) -> int:
    """Entries that go into one request; an entry of metrics has few."""
    return _MOST // 20 if kind == "metrics" else 1

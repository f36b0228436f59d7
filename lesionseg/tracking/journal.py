"""What a run has to say to MLflow, written down first, so that training never waits for a server.

A line of the file is an entry: metrics, params, a file, and at last how the run ended. Entries are delivered in their
order (see `lesionseg.tracking.courier`). What is not delivered yet, since a server was down or the process was killed,
is delivered by whoever goes on with the run, or by ``lesionseg sync``. A metric is written once for each step: a run
that goes on from a checkpoint repeats some steps, and its curve must not.
"""

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from lesionseg.data.files import write_json

JOURNAL, DELIVERED = "journal.jsonl", "delivered.json"
Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
Entry = dict[str, Any]


class Journal:
    """The entries of one run, on disk.

    Written by one thread and delivered by another, both of the process that holds the run's claim.

    Args:
        folder: of the run; entries that are files are named relative to it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / JOURNAL
        self._lock = threading.Lock()
        self._logged: set[tuple[str, int]] = set()
        self._state: dict[str, Any] = {"run_id": None, "offset": 0}
        with suppress(FileNotFoundError, json.JSONDecodeError):  # after a power failure all is delivered once more
            self._state |= json.loads((folder / DELIVERED).read_text(encoding="utf-8"))
        self._is_whole = False
        entries = list(self._entries(0))
        for _, entry in entries:
            self._remember(entry)
        written = entries[-1][0] if entries else 0
        self._state["offset"] = min(self._state["offset"], written)  # a power failure may have taken what had arrived

    def __reduce__(self) -> tuple[Any, ...]:
        return Journal, (self.folder,)  # another process opens it anew

    @property
    def exists(self) -> bool:
        """Whether anything was ever written."""
        return self._path.exists()

    @property
    def run_id(self) -> str | None:
        """The run in MLflow, once there is one."""
        found: str | None = self._state["run_id"]
        return found

    @property
    def ended(self) -> Status | None:
        """How the run ended when it was last worked on; None: it did not."""
        status: Status | None = None
        for _, entry in self._entries(0):
            if entry["kind"] == "status":
                status = None if entry["status"] == "RUNNING" else entry["status"]
        return status

    def clear(self) -> None:
        """Forget everything: a new run begins in this folder."""
        with self._lock:
            self._path.unlink(missing_ok=True)
            (self.folder / DELIVERED).unlink(missing_ok=True)
            self._logged.clear()
            self._state = {"run_id": None, "offset": 0}

    def begin(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str], sweep: str | None) -> None:
        """What the run is called and made of, and that it is being worked on; the same each time it goes on."""
        texts = {key: str(value) for key, value in params.items()}
        self._append({"kind": "begin", "name": name, "params": texts, "tags": dict(tags), "sweep": sweep})
        self._append({"kind": "status", "status": "RUNNING"})

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Values at a step. Left out is NaN, which MLflow's pages cannot show, and what that step has already."""
        new = {
            key: float(value) for key, value in metrics.items() if value == value and (key, step) not in self._logged
        }
        if new:
            self._append({"kind": "metrics", "step": step, "time": int(time.time() * 1000), "values": new})

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """A file below the run's folder, as an artifact."""
        self._append({"kind": "file", "path": path.relative_to(self.folder).as_posix(), "folder": folder})

    def log_dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """What the run learned from, for MLflow's Dataset column."""
        self._append({"kind": "dataset", "name": name, "digest": digest, "source": source, "context": context})

    def set_tag(self, key: str, value: str) -> None:
        """A tag."""
        self._append({"kind": "tag", "key": key, "value": value})

    def end(self, status: Status) -> None:
        """How the run ended."""
        self._append({"kind": "status", "status": status, "time": int(time.time() * 1000)})

    def begins(self) -> Entry | None:
        """The last entry of `begin`; None: there is none."""
        return next((entry for _, entry in reversed(list(self._entries(0))) if entry["kind"] == "begin"), None)

    def remember(self, logged: Iterable[tuple[str, int]]) -> None:
        """Metrics and steps that MLflow has although this journal does not know of them."""
        self._logged.update(logged)

    def pending(self) -> list[tuple[int, Entry]]:
        """What is not delivered yet: each entry with the place in the file where it ends."""
        return list(self._entries(self._state["offset"]))

    def is_delivered(self) -> bool:
        """Whether nothing waits."""
        return next(self._entries(self._state["offset"]), None) is None

    def mark_delivered(self, offset: int) -> None:
        """Note that everything before a place in the file has arrived."""
        self._note(offset=offset)

    def assign(self, run_id: str) -> None:
        """Note which run of MLflow this is."""
        if run_id != self.run_id:
            self._note(run_id=run_id)

    def _note(self, **changes: Any) -> None:
        self._state = {**self._state, **changes}
        write_json(self.folder / DELIVERED, self._state)

    def _append(self, entry: Entry) -> None:
        line = json.dumps(entry).encode() + b"\n"
        with self._lock:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._is_whole:  # only now: whoever merely reads may have a line before it that is being written
                self._cut_torn_line()
                self._is_whole = True
            _write_line(self._path, line)
            self._remember(entry)

    def _remember(self, entry: Entry) -> None:
        if entry["kind"] == "metrics":
            self._logged.update((key, entry["step"]) for key in entry["values"])

    def _entries(self, offset: int) -> Iterator[tuple[int, Entry]]:
        if not self._path.exists():
            return
        with self._path.open("rb") as stream:
            stream.seek(offset)
            for line in stream:
                if not line.endswith(b"\n"):
                    return  # it is being written
                offset += len(line)
                yield offset, json.loads(line)

    def _cut_torn_line(self) -> None:
        """What a process left of a line in which it was killed."""
        if not self._path.exists():
            return
        with self._path.open("rb+") as stream:
            content = stream.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                stream.truncate(whole)
                os.fsync(stream.fileno())


def _write_line(path: Path, line: bytes) -> None:
    """All of a line or, on a full disk, nothing."""
    with path.open("ab", buffering=0) as stream:
        before = stream.tell()
        written = 0
        try:
            while written < len(line):
                written += stream.write(line[written:])
        except OSError:
            stream.truncate(before)
            raise

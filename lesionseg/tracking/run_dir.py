"""A run directory: the record of one run, with a lock that is held while the run is trained.

The lock is free the moment its process is gone, however it went. The record is complete without MLflow, to which
`lesionseg.tracking.mirror` sends what it lacks:

- ``status.json``: name, params, tags, how the run ended, how far it is, and which files are artifacts.
- ``metrics.csv``: a row per metric and step: step, milliseconds since 1970, name, value.
- the artifacts themselves, and ``checkpoints/last.ckpt`` as long as the run is not finished.
"""

import csv
import io
import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lesionseg.errors import InputError
from lesionseg.io import read_json, write_json
from lesionseg.tracking.mlflow_store import ERROR_TAG, Status

_log = logging.getLogger(__name__)
LOCK, STATUS, METRICS, SENT = ".lock", "status.json", "metrics.csv", "sent.json"
IMAGE = "image:"
"""Before key and step, in place of a folder of artifacts: one of a series of images."""
_PROGRESS_EVERY = 5.0  # seconds between two notes of progress within one phase
MetricRow = tuple[int, int, str, float]
"""Step, milliseconds since 1970, name, value."""


class RunDir:
    """The record of one run on disk; written by the process that holds its lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._write_lock = threading.Lock()
        self._logged: set[tuple[str, int]] | None = None
        self._noted = 0.0
        self._progress: dict[str, Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return RunDir, (self.path,)  # a process that trains on a further device opens it anew

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Hold the run's lock; gives whether it was free."""
        self.path.mkdir(parents=True, exist_ok=True)
        with try_lock(self.path / LOCK) as free:
            yield free

    def is_locked(self) -> bool:
        """Whether a process works on the run right now."""
        if not (self.path / LOCK).exists():
            return False
        with try_lock(self.path / LOCK) as free:
            return not free

    @property
    def exists(self) -> bool:
        """Whether the run was ever begun here."""
        return (self.path / STATUS).is_file()

    def read(self) -> dict[str, Any]:
        """Return the content of ``status.json``; empty where there is none."""
        return read_json(self.path / STATUS)

    def begin(self, **facts: Any) -> None:
        """Note what the run is called and made of, and that it is being trained; the same each time it goes on."""
        for partial in self.path.rglob(".partial-*"):  # of a process that was killed while it wrote
            partial.unlink(missing_ok=True)
        worker = f"process {os.getpid()} on {socket.gethostname()}"
        self._update(**facts, status="RUNNING", worker=worker, error="", began=time.time())

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log values at a step; left out are NaN, which MLflow cannot show, and what that step has already: a run that
        goes on from a checkpoint repeats some steps."""
        with self._write_lock:
            if self._logged is None:
                self._cut_torn_line()
                self._logged = {(key, step) for step, _, key, _ in self.metrics()}
            now = int(time.time() * 1000)
            new = {k: float(v) for k, v in metrics.items() if v == v and (k, step) not in self._logged}
            lines = io.StringIO()
            csv.writer(lines, lineterminator="\n").writerows(
                [step, now, key, repr(value)] for key, value in new.items()
            )
            _append(self.path / METRICS, lines.getvalue().encode())
            self._logged |= {(key, step) for key in new}

    def metrics(self, start: int = 0) -> list[MetricRow]:
        """Return the rows that were logged, from a number on, without those that are no such row."""
        if not (self.path / METRICS).exists():
            return []
        text = (self.path / METRICS).read_text(encoding="utf-8", errors="replace")
        whole = text[: text.rfind("\n") + 1]  # the last line may be being written
        rows: list[MetricRow] = []
        for line in whole.splitlines()[start:]:
            try:
                ((step, when, key, value),) = csv.reader([line])
                rows.append((int(step), int(when), key, float(value)))
            except (ValueError, csv.Error):
                _log.warning("%s: the line %.60r is damaged and left out", self.path / METRICS, line)
        return rows

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Make a file below the directory an artifact, in a folder of artifacts if one is named."""
        files = {**self.read().get("files", {}), path.relative_to(self.path).as_posix(): folder}
        self._update(files=files)

    def log_image(self, path: Path, key: str, step: int) -> None:
        """Make a PNG one of a series of images over steps, which MLflow shows with a slider."""
        self.log_file(path, f"{IMAGE}{key}:{step}")

    def set_tag(self, key: str, value: str) -> None:
        """Set a tag."""
        self._update(tags={**self.read().get("tags", {}), key: value})

    def note_progress(self, phase: str, *, step: int | None = None, seconds_left: float | None = None) -> None:
        """Note how far the run is: a new phase at once, a step every few seconds."""
        progress = self.read().get("progress", {}) if self._noted == 0.0 else self._progress
        due = phase != progress.get("phase") or time.monotonic() - self._noted > _PROGRESS_EVERY
        known = {"step": step, "seconds_left": seconds_left}
        self._progress = {**progress, "phase": phase, **{key: one for key, one in known.items() if one is not None}}
        if due:
            self._noted = time.monotonic()
            self._update(progress=self._progress)

    def forget_failure(self) -> None:
        """Leave out what an earlier try of a run that is done now left of its failure."""
        status = self.read()
        (self.path / "error.txt").unlink(missing_ok=True)
        files = {path: folder for path, folder in status.get("files", {}).items() if path != "error.txt"}
        tags = status.get("tags", {})
        self._update(files=files, tags={**tags, ERROR_TAG: ""} if ERROR_TAG in tags else tags)

    def end(self, status: Status, error: str = "") -> None:
        """Note how the run ended."""
        self._update(status=status, error=error, ended=int(time.time() * 1000), progress={})

    def clear(self) -> None:
        """Forget everything: a new run begins in this directory."""
        for name in (STATUS, METRICS, SENT, "learning_rate.json"):
            (self.path / name).unlink(missing_ok=True)
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)
        self._logged = None

    def sent(self) -> dict[str, Any]:
        """Return what MLflow was sent: ``run_id``, number of ``rows``, digests of ``files``, ``tags``, ``status``."""
        nothing: dict[str, Any] = {"run_id": None, "rows": 0, "files": {}, "tags": {}, "status": None}
        return {**nothing, **read_json(self.path / SENT)}

    def note_sent(self, sent: Mapping[str, Any]) -> None:
        """Note what MLflow was sent; without the note all of it is sent again, which changes nothing there."""
        write_json(self.path / SENT, dict(sent))

    def _update(self, **changes: Any) -> None:
        with self._write_lock:
            write_json(self.path / STATUS, {**self.read(), **changes})

    def _cut_torn_line(self) -> None:
        """Remove what a process left of a line in which it was killed."""
        with suppress(FileNotFoundError), (self.path / METRICS).open("rb+") as stream:
            content = stream.read()
            stream.truncate(content.rfind(b"\n") + 1)


def _append(path: Path, lines: bytes) -> None:
    """Append all of some lines or, on a full disk, nothing."""
    with path.open("ab", buffering=0) as stream:
        before = stream.tell()
        try:
            written = stream.write(lines)
            while written < len(lines):
                written += stream.write(lines[written:])
        except OSError:
            stream.truncate(before)
            raise


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Hold a lock if it is free; gives whether it was."""
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    except (OSError, NotImplementedError) as error:
        if isinstance(error, PermissionError):  # somebody else's outputs, which are only read
            yield True
            return
        raise InputError(
            f"paths.outputs={path.parent}: its file system has no locks ({error}), by which processes know of one "
            "another; set paths.outputs to a folder on a local disk, or on a network disk that has locks"
        ) from error
    try:
        yield True
    finally:
        lock.release()

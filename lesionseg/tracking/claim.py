"""The right to work on a run: held by one process at a time, and lost by one that gives no sign of life.

The claim is a file in the run's folder, so that whoever shares the folder, on one computer or over a network, shares
the work. It tells who works there and when it was last heard of. It is read and written under a lock that is held for
milliseconds. A claim is free for another one to take when its worker has ended for certain, or was not heard of for
longer than agreed; whoever lost it this way learns so at the next beat, and must stop.
"""

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from lesionseg.data.files import write_json
from lesionseg.tracking.worker import Worker, this_worker

CLAIM = "claim.json"
Clock = Callable[[Path], float]


class ClaimLostError(RuntimeError):
    """Another process works on the run now."""


@dataclass(frozen=True)
class Holder:
    """Who holds a claim.

    Args:
        worker: the process.
        heard: when it last beat, seconds since 1970 by the clock of the file system.
        expires: seconds without a beat after which the claim is free.
        progress: what it said of its work.
    """

    worker: Worker
    heard: float
    expires: float
    progress: Mapping[str, Any]


class Claim:
    """A claim that this process holds; made by `take_claim`."""

    def __init__(self, folder: Path, worker: Worker, expires: float, clock: Clock) -> None:
        self.folder = folder
        self.worker = worker
        self.expires = expires
        self._clock = clock

    def beat(self, progress: Mapping[str, Any]) -> None:
        """Give a sign of life, and say how far the work is.

        Raises:
            ClaimLostError: it was not heard for too long, and another process has taken over.
        """
        with _lock(self.folder):
            self._own()
            _write(self.folder, Holder(self.worker, self._clock(self.folder), self.expires, progress))

    def release(self) -> None:
        """Give it up; nothing happens where it is lost already."""
        with _lock(self.folder):
            holder = read_claim(self.folder)
            if holder is not None and holder.worker == self.worker:
                (self.folder / CLAIM).unlink()

    def _own(self) -> None:
        holder = read_claim(self.folder)
        if holder is None or holder.worker != self.worker:
            whose = "was released" if holder is None else f"is {holder.worker}'s now"
            raise ClaimLostError(f"{self.folder}: the claim of {self.worker} {whose}")


def filesystem_time(folder: Path) -> float:
    """The time by the clock of the file system, the same for every computer that shares it; seconds since 1970."""
    with tempfile.NamedTemporaryFile(prefix=".partial-", dir=folder) as probe:
        return Path(probe.name).stat().st_mtime


def take_claim(
    folder: Path, *, expires: float, worker: Worker | None = None, clock: Clock = filesystem_time
) -> Claim | Holder:
    """Claim a run, or learn who holds it.

    Args:
        folder: of the run; made if need be.
        expires: seconds without a beat after which the claim is free again; one that is held has its own.
        worker: who takes it; None: this process.
        clock: tells the time in that folder.
    """
    worker = worker or this_worker()
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder):
        holder, now = read_claim(folder), clock(folder)
        if holder is not None and holder.worker != worker and is_held(holder, now):
            return holder
        _write(folder, Holder(worker, now, expires, {}))
        return Claim(folder, worker, expires, clock)


def is_held(holder: Holder, now: float) -> bool:
    """Whether a holder is to be left alone: heard of lately, and not gone for certain."""
    return now - holder.heard <= holder.expires and not holder.worker.is_gone()


def read_claim(folder: Path) -> Holder | None:
    """Who holds the claim on a run, alive or not; None: nobody, or a power failure took what was written."""
    try:
        content = json.loads((folder / CLAIM).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return Holder(Worker.from_json(content), content["heard"], content["expires"], content["progress"])


def _write(folder: Path, holder: Holder) -> None:
    times = {"heard": holder.heard, "expires": holder.expires}
    write_json(folder / CLAIM, {**holder.worker.to_json(), **times, "progress": dict(holder.progress)})


def _lock(folder: Path) -> FileLock:
    return FileLock(folder / ".claim.lock")

"""Which of the processes at work on this computer this one is."""

import itertools
import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

_held: dict[tuple[int, Path], tuple[int, FileLock]] = {}


def take_slot(folder: Path) -> int:
    """The lowest number from 0 that no other process of this computer holds.

    It is this process's until it ends, however it ends: a lock on ``folder/<computer>-<number>.lock``. Asked again, the
    process is told the number that it has.

    Args:
        folder: of the locks; made if missing.
    """
    folder = folder.absolute()
    owner = (os.getpid(), folder)  # a forked child has no share in its parent's lock
    if owner not in _held:
        folder.mkdir(parents=True, exist_ok=True)
        _held[owner] = next(found for number in itertools.count() if (found := _try(folder, number)) is not None)
    return _held[owner][0]


def _try(folder: Path, number: int) -> tuple[int, FileLock] | None:
    lock = FileLock(folder / f"{socket.gethostname()}-{number}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    return number, lock

"""The command line in a process of its own, whose libraries are loaded already."""

import os
import resource
import sys
import threading
from collections.abc import Sequence
from pathlib import Path


def launch(arguments: Sequence[str], folder: Path, log: Path, largest: int | None) -> None:
    """Run ``lesionseg`` in a folder as the leader of a session, so that all its processes can be found.

    Args:
        arguments: behind ``lesionseg``.
        folder: to stand in.
        log: takes what it says.
        largest: bytes that a file can have, as if the disk were full then; None: any number.
    """
    os.setsid()
    if largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    os.chdir(folder)
    with log.open("ab", buffering=0) as stream:
        for output in (sys.stdout, sys.stderr):
            output.flush()
            os.dup2(stream.fileno(), output.fileno())
    from lesionseg.cli import main

    try:
        main(list(arguments))
    finally:
        # Before multiprocessing closes the queue by which joblib ends workers, as in an interpreter of its own: they
        # would stay for minutes.
        threading._shutdown()  # type: ignore[attr-defined]

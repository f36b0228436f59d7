"""What becomes of a run that this process has claimed: is it new, cut off, finished, or another folder's?"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lesionseg.tracking import (
    Claim,
    Courier,
    Holder,
    Journal,
    Store,
    Worker,
    heartbeat_of,
    is_worked_on,
    logged_steps,
    remove_broken_uploads,
    runs_of,
    take_claim,
    this_worker,
)

_POLL = 1.0  # seconds


@dataclass(frozen=True)
class Found:
    """What there is of a run.

    Args:
        state: ``elsewhere``: a process that does not share the outputs works on it.
        run_id: in MLflow; None: it is not there yet, or MLflow is away.
        before: how it ended when it was last worked on, in a word; empty for a new one.
        worker: who works on it elsewhere.
    """

    state: Literal["new", "goes on", "finished", "elsewhere"]
    run_id: str | None = None
    before: str = ""
    worker: Worker | None = None


def settle(
    store: Store | None, journal: Journal, courier: Courier, identity: str, sweep: str | None, *, force: bool
) -> Found:
    """Find out what there is of a run, and bring its journal into line with it.

    What MLflow knows counts; while it is away, what the run's folder knows. A journal and checkpoints that belong to
    another run of MLflow, such as one that was deleted there, are removed.

    Args:
        store: None: MLflow is away.
        journal: of the run's folder, which this process has claimed.
        courier: of that journal.
        identity: the run's hash.
        sweep: its sweep.
        force: run again what is finished.
    """
    _remove_partial_files(journal.folder)
    if journal.ended == "FINISHED" and not journal.is_delivered():
        courier.drain(0)
    if store is None or (journal.ended == "FINISHED" and not journal.is_delivered()):
        return _from_folder(journal, force)
    runs = runs_of(store, identity, sweep)
    finished = [run for run in runs if run.info.status == "FINISHED"]
    begun = [run for run in runs if run.info.status != "FINISHED"]
    if finished and not force:
        return Found("finished", finished[-1].info.run_id)
    if not begun:
        if journal.run_id is not None:  # of a run that was finished, or is not there any more
            _forget(journal)
        return Found("goes on", before="cut off") if journal.exists else Found("new")
    run = begun[-1]
    run_id, beat = run.info.run_id, heartbeat_of(run)
    if beat is not None and is_worked_on(run) and beat.worker != this_worker():
        return Found("elsewhere", run_id, worker=beat.worker)
    if journal.run_id not in (None, run_id):
        _forget(journal)
    journal.remember(logged_steps(store, run))  # the run may be older than this folder's journal
    journal.assign(run_id)
    remove_broken_uploads(run)
    before = run.info.status.lower()
    return Found("goes on", run_id, before="cut off" if before == "running" else before)


def await_claim(folder: Path, expires: float) -> Claim:
    """Wait until whoever works on a run has ended, or is not heard of any more, and claim it."""
    while True:
        claim = take_claim(folder, expires=expires)
        if not isinstance(claim, Holder):
            return claim
        time.sleep(_POLL)


def _from_folder(journal: Journal, force: bool) -> Found:
    ended = journal.ended
    if ended == "FINISHED" and not force:
        return Found("finished", journal.run_id)
    if ended == "FINISHED" or not journal.exists:
        _forget(journal)
        return Found("new")
    return Found("goes on", journal.run_id, before=(ended or "cut off").lower())


def _forget(journal: Journal) -> None:
    journal.clear()
    shutil.rmtree(journal.folder / "checkpoints", ignore_errors=True)


def _remove_partial_files(folder: Path) -> None:
    """What a process left that was killed while it wrote; nobody but the holder of the claim writes here."""
    for partial in folder.rglob(".partial-*"):
        partial.unlink(missing_ok=True)

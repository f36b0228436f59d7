"""Send to MLflow what runs could not send while it was away. The story of ``lesionseg sync``."""

from pathlib import Path

from lesionseg.config.schema import SyncConfig
from lesionseg.runs.plan import outputs, store_of
from lesionseg.tracking import JOURNAL, Courier, Holder, Journal, Run, close_sweep, take_claim

_EXPIRES = 180.0  # seconds
_PATIENCE = 10.0


def sync(config: SyncConfig) -> int:
    """Deliver every journal below the outputs that was not delivered, but those of runs that are being worked on: these
    do so themselves. A run that was cut off is KILLED in MLflow, where it goes on when it is started again.

    Returns:
        0 once nothing waits any more; 1 where MLflow did not take everything.

    Raises:
        InputError: MLflow cannot be reached.
    """
    store = store_of(config.tracking, config.paths)
    waiting = [path.parent for path in sorted((outputs(config.paths) / "runs").glob(f"*/*/{JOURNAL}"))]
    waiting = [folder for folder in waiting if not Journal(folder).is_delivered()]
    sent: list[Path] = []
    sweeps: set[str] = set()
    for folder in waiting:
        claim = take_claim(folder, expires=_EXPIRES)
        if isinstance(claim, Holder):
            print(f"{folder.name}: {claim.worker} works on it, and sends what it logs")
            continue
        try:
            journal = Journal(folder)
            if not Courier(journal, lambda: store, print, folder.name).drain(_PATIENCE):
                continue
            if journal.ended is None and journal.run_id is not None:
                Run(store, journal.run_id).set_status("KILLED")
            sent.append(folder)
            sweeps.add((journal.begins() or {}).get("sweep") or "")
        finally:
            claim.release()
    for sweep in sorted(sweeps - {""}):
        close_sweep(store, sweep)
    print(f"{len(sent)} of {len(waiting)} runs with something to send were sent to {store.uri}.")
    return 0 if len(sent) == len(waiting) else 1

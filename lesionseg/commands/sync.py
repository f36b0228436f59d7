"""``lesionseg sync``: send to MLflow what runs could not send while it was away."""

from lesionseg.commands.plan import outputs, store_of
from lesionseg.config.schema import SyncConfig
from lesionseg.tracking.mirror import is_mirrored, mirror
from lesionseg.tracking.mlflow_store import fault_of
from lesionseg.tracking.run_dir import STATUS, RunDir
from lesionseg.tracking.sweep import close_sweep


def sync(config: SyncConfig) -> int:
    """Mirror every run directory below the outputs that was not mirrored, but those that are being trained: these do so
    themselves. A run that was interrupted is KILLED in MLflow, where it goes on when it is started again.
    """
    store = store_of(config.tracking, config.paths)
    run_dirs = [RunDir(file.parent) for file in sorted((outputs(config.paths) / "runs").glob(f"*/*/{STATUS}"))]
    waiting = [run_dir for run_dir in run_dirs if not is_mirrored(run_dir)]
    sent, sweeps = 0, set()
    for run_dir in waiting:
        name = run_dir.path.name
        with run_dir.locked() as free:
            if not free:
                print(f"{name}: {run_dir.read().get('worker')} works on it, and sends what it logs")
                continue
            if run_dir.read()["status"] == "RUNNING":
                run_dir.end("KILLED")
            fault = fault_of(lambda run_dir=run_dir: mirror(run_dir, store))  # type: ignore[misc]
            if fault is not None:
                print(f"{name}: MLflow does not take it: {fault}")
                continue
            sent += 1
            if run_dir.read()["sweep"]:
                sweeps.add(run_dir.path.parent)
    for folder in sorted(sweeps):
        close_sweep(store, folder)
    print(f"{sent} of {len(waiting)} runs with something to send were sent to {store.uri}.")
    return 0 if sent == len(waiting) else 1

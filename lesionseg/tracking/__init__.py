"""What runs leave: run directories, MLflow, and sweeps in both. The only place with MLflow."""

from lesionseg.tracking.artifacts import Artifacts, artifacts_of, fetch_weights, is_address
from lesionseg.tracking.mirror import Uploader, is_mirrored, mirror
from lesionseg.tracking.mlflow_store import Run, Store, check_reachable, fault_of, metric_maximum, open_store, runs_of
from lesionseg.tracking.run_dir import RunDir, try_lock
from lesionseg.tracking.sweep import STATES, RunState, close_sweep, find_parent, sweep_children, sweep_states

__all__ = [
    "STATES",
    "Artifacts",
    "Run",
    "RunDir",
    "RunState",
    "Store",
    "Uploader",
    "artifacts_of",
    "check_reachable",
    "close_sweep",
    "fault_of",
    "fetch_weights",
    "find_parent",
    "is_address",
    "is_mirrored",
    "metric_maximum",
    "mirror",
    "open_store",
    "runs_of",
    "sweep_children",
    "sweep_states",
    "try_lock",
]

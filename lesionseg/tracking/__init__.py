"""MLflow, and nothing else of it anywhere."""

from lesionseg.tracking.registry import fetch_weights, is_address
from lesionseg.tracking.runs import (
    HASH_TAG,
    KIND_TAG,
    SWEEP_TAG,
    Run,
    close_sweep,
    fetch_artifact,
    fetch_folder,
    find_run,
    metric_maximum,
    reopen,
    start_run,
    sweep_children,
    sweep_parent,
)
from lesionseg.tracking.store import Store, check_reachable, open_store

__all__ = [
    "HASH_TAG",
    "KIND_TAG",
    "SWEEP_TAG",
    "Run",
    "Store",
    "check_reachable",
    "close_sweep",
    "fetch_artifact",
    "fetch_folder",
    "fetch_weights",
    "find_run",
    "is_address",
    "metric_maximum",
    "open_store",
    "reopen",
    "start_run",
    "sweep_children",
    "sweep_parent",
]

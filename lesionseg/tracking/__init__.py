"""MLflow, and nothing else of it anywhere; and who works on what."""

from lesionseg.tracking.artifacts import remove_broken_uploads
from lesionseg.tracking.attendant import Attendant
from lesionseg.tracking.claim import Claim, ClaimLostError, Holder, filesystem_time, is_held, read_claim, take_claim
from lesionseg.tracking.courier import Courier
from lesionseg.tracking.heartbeat import Heartbeat, heartbeat_of, is_worked_on
from lesionseg.tracking.journal import DELIVERED, JOURNAL, Journal, Status
from lesionseg.tracking.links import Page, chart_page, pages_root, sweep_pages
from lesionseg.tracking.registry import fetch_weights, is_address
from lesionseg.tracking.runs import (
    Run,
    fetch_artifact,
    fetch_folder,
    logged_steps,
    metric_maximum,
    runs_of,
    start_run,
)
from lesionseg.tracking.store import Store, check_reachable, fault_of, open_store
from lesionseg.tracking.sweeps import (
    STATES,
    GridEntry,
    RunState,
    add_to_grid,
    bury_dead,
    close_sweep,
    find_parent,
    read_grid,
    sweep_children,
    sweep_parent,
    sweep_states,
)
from lesionseg.tracking.tags import (
    COMMAND_TAG,
    ERROR_TAG,
    HASH_TAG,
    HEARTBEAT_TAG,
    KEY_TAG,
    KIND_TAG,
    NOTE_TAG,
    SECONDS_TAG,
    SWEEP_TAG,
    VERSIONS_TAG,
)
from lesionseg.tracking.views import scores_by_size, seed_views
from lesionseg.tracking.worker import Worker, this_worker

__all__ = [
    "COMMAND_TAG",
    "DELIVERED",
    "ERROR_TAG",
    "HASH_TAG",
    "HEARTBEAT_TAG",
    "JOURNAL",
    "KEY_TAG",
    "KIND_TAG",
    "NOTE_TAG",
    "SECONDS_TAG",
    "STATES",
    "SWEEP_TAG",
    "VERSIONS_TAG",
    "Attendant",
    "Claim",
    "ClaimLostError",
    "Courier",
    "GridEntry",
    "Heartbeat",
    "Holder",
    "Journal",
    "Page",
    "Run",
    "RunState",
    "Status",
    "Store",
    "Worker",
    "add_to_grid",
    "bury_dead",
    "chart_page",
    "check_reachable",
    "close_sweep",
    "fault_of",
    "fetch_artifact",
    "fetch_folder",
    "fetch_weights",
    "filesystem_time",
    "find_parent",
    "heartbeat_of",
    "is_address",
    "is_held",
    "is_worked_on",
    "logged_steps",
    "metric_maximum",
    "open_store",
    "pages_root",
    "read_claim",
    "read_grid",
    "remove_broken_uploads",
    "runs_of",
    "scores_by_size",
    "seed_views",
    "start_run",
    "sweep_children",
    "sweep_pages",
    "sweep_parent",
    "sweep_states",
    "take_claim",
    "this_worker",
]

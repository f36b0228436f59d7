"""Open an MLflow store, safely created where it does not exist, and write to and look up its runs."""

import os
import sqlite3
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal
from urllib.error import HTTPError
from urllib.parse import urlparse
from urllib.request import url2pathname, urlopen

from filelock import FileLock

from lesionseg.errors import InputError
from lesionseg.io import link_or_copy

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# What cannot be sent is kept and sent again: MLflow's own tries, which go on for minutes, would only hold things up.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

SWEEP_TAG = "lesionseg.sweep"
"""The sweep's name; empty for a run of its own."""
HASH_TAG = "lesionseg.config_hash"
"""What makes a run this run and no other: configuration, split, data and first weights."""
KEY_TAG = "lesionseg.configuration"
"""Which entry of the sweep's grid it is."""
KIND_TAG = "lesionseg.kind"
"""``sweep``: the parent; ``run``: a child."""
PROGRESS_TAG = "lesionseg.progress"
"""How far the run is, in words, renewed while it is trained."""
SECONDS_TAG = "lesionseg.seconds"
"""How long the run took, unless it was interrupted on its way."""
ERROR_TAG = "lesionseg.error"
"""The first line of what made it fail."""
COMMAND_TAG = "lesionseg.command"
"""Of a parent run: the commands that asked for its grid, a line each."""
VERSIONS_TAG = "lesionseg.versions"
"""The programs that made the run, JSON: name to version."""
PARENT_TAG = "mlflow.parentRunId"
NOTE_TAG = "mlflow.note.content"

_LOCKED = 90.0  # seconds to wait for another process that writes to the database
_WAITING: list[bool] = []
_PATIENCE = 5.0  # seconds for a server to answer
_ADDRESSES = (
    *(("experiments", "artifact_location"), ("runs", "artifact_uri"), ("logged_models", "artifact_location")),
    *(("model_versions", "source"), ("model_versions", "storage_location")),
)
"""Where MLflow's database keeps addresses of artifacts."""
_TRAINING = {"mlflow.experimentKind": "custom_model_development"}
"""By which MLflow's pages show an experiment's runs first, and not what they have for language models."""
_MOST_METRICS = 1000  # that MLflow takes in one request


@dataclass(frozen=True)
class Store:
    """An open store and the experiment that runs go to."""

    uri: str  # MLflow's tracking URI
    experiment_id: str  # of the experiment
    client: Any  # an ``mlflow.MlflowClient`` for that URI
    lock: Path  # a file that processes on this machine lock to create things once

    def search(self, query: str) -> list[Any]:
        """Return all runs that a filter finds, oldest first, as MLflow's entities."""
        found: list[Any] = []
        token: str | None = None
        while True:
            page = self.client.search_runs([self.experiment_id], query, max_results=1000, page_token=token)
            found += page
            token = page.token
            if not token:
                return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))


@dataclass(frozen=True)
class Run:
    """One MLflow run, open for writing; every call goes to the store at once."""

    store: Store
    run_id: str

    def log_metrics(self, rows: Sequence[tuple[int, int, str, float]]) -> None:
        """Log rows of step, milliseconds since 1970, name and value; a row that is there already is not added twice."""
        from mlflow.entities import Metric

        metrics = [Metric(key, value, when, step) for step, when, key, value in rows]
        for first in range(0, len(metrics), _MOST_METRICS):
            self.store.client.log_batch(self.run_id, metrics=metrics[first : first + _MOST_METRICS])

    def log_now(self, metrics: Mapping[str, float]) -> None:
        """Log values at step 0."""
        now = int(time.time() * 1000)
        self.log_metrics([(0, now, key, float(value)) for key, value in metrics.items()])

    def log_params(self, params: Mapping[str, str]) -> None:
        """Log params; those that are there already must be the same."""
        from mlflow.entities import Param

        self.store.client.log_batch(self.run_id, params=[Param(key, value) for key, value in params.items()])

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Log a file as an artifact: where these lie on this machine, the same file at a second place."""
        place = local_folder(self.store.client.get_run(self.run_id))
        if place is None:
            self.store.client.log_artifact(self.run_id, str(path), folder)
        else:
            link_or_copy(path, place / (folder or "") / path.name)

    def log_image(self, path: Path, key: str, step: int) -> None:
        """Log a PNG as one of a series over steps."""
        from PIL import Image

        with Image.open(path) as image:
            self.store.client.log_image(self.run_id, image.convert("RGB"), key=key, step=step, synchronous=True)

    def set_tag(self, key: str, value: str) -> None:
        """Set a tag."""
        self.store.client.set_tag(self.run_id, key, value)

    def log_dataset(self, name: str, digest: str, source: str) -> None:
        """Say what the run learned from, for MLflow's Dataset column."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        tag = InputTag("mlflow.data.context", "training")
        dataset = Dataset(name=name, digest=digest[:8], source_type="local", source=source)
        self.store.client.log_inputs(self.run_id, datasets=[DatasetInput(dataset, tags=[tag])])

    def set_status(self, status: Status, end_time: int | None = None) -> None:
        """Set RUNNING, or how the run ended, and when in milliseconds since 1970; None: now."""
        if status == "RUNNING":
            self.store.client.update_run(self.run_id, status=status)
        else:
            self.store.client.set_terminated(self.run_id, status=status, end_time=end_time)

    @property
    def url(self) -> str:
        """Its address in MLflow's pages, from the server's root."""
        return f"#/experiments/{self.store.experiment_id}/runs/{self.run_id}?workflowType=machine_learning"


def start_monitor(store: Store, run_id: str) -> Any:
    """Start MLflow's own log of CPU, memory, disk, network and GPU, a point every ten seconds; ``finish()`` ends it."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=store.uri)
    monitor.start()
    return monitor


def local_folder(run: Any) -> Path | None:
    """Return the folder that a run's artifacts, as MLflow's entity has them, are said to lie in; None if that is no
    folder."""
    uri = str(run.info.artifact_uri)
    parts = urlparse(uri)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(uri) if not parts.scheme else None


def start_run(store: Store, name: str, tags: Mapping[str, str], parent: str | None = None) -> Run:
    """Start a run with status RUNNING, below a parent's run id if one is given."""
    all_tags = {**tags, **({PARENT_TAG: parent} if parent else {})}
    return Run(store, str(store.client.create_run(store.experiment_id, run_name=name, tags=all_tags).info.run_id))


def runs_of(store: Store, config_hash: str, sweep: str | None) -> list[Any]:
    """Return every run of a configuration in a sweep, oldest first, as MLflow's entities."""
    return store.search(f"tags.`{HASH_TAG}` = '{config_hash}' and tags.`{SWEEP_TAG}` = '{sweep or ''}'")


def metric_maximum(store: Store, run_id: str, name: str) -> float | None:
    """Return the highest value that a metric of a run ever had; None if it was never logged."""
    history = store.client.get_metric_history(run_id, name)
    return max((float(entry.value) for entry in history), default=None)


def open_store(uri: str, experiment: str, artifacts: str | None, lock: Path, *, create: bool = True) -> Store:
    """Open a store, creating database and experiment under a lock: MLflow itself does not survive several processes
    that do so at once.
    """
    file = Path(uri.removeprefix("sqlite:///")).expanduser().resolve() if uri.startswith("sqlite:///") else None
    uri = uri if file is None else f"sqlite:///{file}"
    check_reachable(uri, writing=create)
    if not create and file is not None and not file.exists():
        raise InputError(
            f"tracking.uri={uri}: there is no such file, so nothing was run yet; start in the folder where "
            "lesionseg train was started, or set paths.outputs"
        )
    _quiet()
    _wait_for_locks()
    from alembic.util import CommandError
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    if file is not None:  # beside the database, which several output folders may share
        lock = file.with_name(f".{file.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    reading = not create and not os.access(lock.parent, os.W_OK)  # somebody else's outputs
    with nullcontext() if reading else FileLock(lock):
        try:
            if file is not None and not file.exists():
                _make_database(file)
            client = MlflowClient(tracking_uri=uri)
            found = client.get_experiment_by_name(experiment)
            location = None if artifacts is None else Path(artifacts).expanduser().resolve().as_uri()
            if found is not None and file is not None and location is not None and found.artifact_location != location:
                _relocate(file, found.artifact_location, Path(str(artifacts)).expanduser().resolve())
            if found is not None and found.lifecycle_stage == "deleted":
                raise InputError(
                    f"tracking.experiment={experiment}: was deleted in {uri}; bring it back (mlflow experiments "
                    f"restore -x {found.experiment_id}), or name another one"
                )
            experiment_id = (
                client.create_experiment(experiment, artifact_location=location, tags=_TRAINING)
                if found is None
                else found.experiment_id
            )
        except (MlflowException, SQLAlchemyError, CommandError) as error:
            text = str(error)
            raise InputError(
                f"tracking.uri={uri}: MLflow cannot open it ({text.splitlines()[0]}); {_way_out(text, file)}"
            ) from error
    return Store(uri, str(experiment_id), client, lock)


def _way_out(reason: str, file: Path | None) -> str:
    """Return what mends a store that cannot be opened."""
    if "locked" in reason:
        held = f", held by {_holders(file)}" if file is not None else ""
        return f"it was locked for {_LOCKED:.0f} s{held}: wait for that process or end it, and start again"
    if "full" in reason:
        return "make room on its disk, and the same command goes on"
    if "Can't locate revision" in reason or "out-of-date" in reason:
        return "another version of MLflow made it: install that one, or let yours upgrade a copy (mlflow db upgrade)"
    if "401" in reason or "403" in reason:
        return "it wants a login: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    return "look whether it is a database of MLflow, or set tracking.uri to another one"


def _holders(file: Path) -> str:
    """Name the processes that have a file open."""
    import psutil

    found = []
    for process in psutil.process_iter(["pid", "name"]):
        with suppress(psutil.Error):
            if str(file) in {opened.path for opened in process.open_files()}:
                found.append(f"process {process.pid} ({process.name()})")
    return ", ".join(found) or "a process that this user may not see"


def _wait_for_locks() -> None:
    """Have every connection to a database file wait while another process writes to it."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def wait(connection: Any, record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute(f"PRAGMA busy_timeout = {int(1000 * _LOCKED)}")

    if not _WAITING:
        event.listen(Engine, "connect", wait)
        _WAITING.append(True)


def _relocate(file: Path, old: str, new: Path) -> None:
    """Have a database that was moved or copied together with its artifacts say where these are now.

    MLflow keeps absolute addresses. They are changed where the new folder holds the runs' artifacts, and the database
    can be written to.
    """
    with closing(sqlite3.connect(file, timeout=_PATIENCE)) as database, suppress(sqlite3.OperationalError), database:
        runs = [
            run_id
            for (run_id,) in database.execute("SELECT run_uuid FROM runs WHERE artifact_uri LIKE ?", [f"{old}/%"])
        ]
        if not any((new / run_id).is_dir() for run_id in runs):
            return
        for table, column in _ADDRESSES:
            change = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR {column} LIKE ?"
            database.execute(change, [new.as_uri(), len(old) + 1, old, f"{old}/%"])


def _make_database(file: Path) -> None:
    """Make a database under another name, then rename it: one that is left between two migrations can never be
    opened."""
    from mlflow import MlflowClient

    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".partial-{file.name}")
    for left in file.parent.glob(f"{partial.name}*"):
        left.unlink()
    MlflowClient(tracking_uri=f"sqlite:///{partial}").search_experiments(max_results=1)
    os.replace(partial, file)


def check_reachable(uri: str, *, writing: bool = True) -> None:
    """See in a few seconds that a server listens, or that a database file can be written, or at least read."""
    parts = urlparse(uri)
    if parts.scheme in ("http", "https"):
        fault = _server_fault(uri)
        if fault:
            raise InputError(
                f"tracking.uri={uri}: no server answers there ({fault}); start it, or use the embedded store with "
                "tracking=sqlite"
            )
    elif uri.startswith("sqlite:///"):
        database = Path(uri.removeprefix("sqlite:///"))
        place = database if database.exists() else database.parent
        while not place.exists():
            place = place.parent
        if database.parent.exists() and not database.parent.is_dir():
            raise InputError(f"tracking.uri={uri}: {database.parent} is a file; choose another place")
        if database.is_dir() or not os.access(place, os.W_OK if writing else os.R_OK):
            done = "written to" if writing else "read"
            raise InputError(f"tracking.uri={uri}: {place} cannot be {done}; choose another place")
    else:
        raise InputError(f"tracking.uri={uri}: write sqlite:///<file> or http://<server>:<port>")


def _server_fault(uri: str) -> str | None:
    """Return why a server gives no answer; None if it is there. MLflow itself would try for minutes."""
    parts = urlparse(uri)
    try:
        port = "" if parts.port is None else f":{parts.port}"
        url = f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path.rstrip('/')}/health"
        urlopen(url, timeout=_PATIENCE).close()
    except HTTPError as error:  # below 500 somebody answers, be it only to ask for a password
        return f"it answers {error.code} {error.reason}" if error.code >= 500 else None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        # which certificates to trust is a matter between MLflow and its own settings
        return None if isinstance(reason, ssl.SSLCertVerificationError) else str(reason) or type(reason).__name__
    return None


def fault_of(attempt: Callable[[], Any]) -> str | None:
    """Return why something could not be done with MLflow; None if it could."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        attempt()
    except InputError as error:
        return str(error)
    except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
        return (str(error).splitlines() or [type(error).__name__])[0]
    return None


def _quiet() -> None:
    """MLflow tells of every step of a database's making; nobody needs to read that."""
    import logging

    for name in ("mlflow.system_metrics", "mlflow.store.db.utils", "alembic", "alembic.runtime.migration"):
        logging.getLogger(name).setLevel(logging.WARNING)

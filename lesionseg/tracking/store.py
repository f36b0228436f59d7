"""Open an MLflow store, creating it safely where it does not exist."""

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlparse
from urllib.request import urlopen

from filelock import FileLock

from lesionseg.errors import InputError

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# What cannot be sent is kept and sent again: MLflow's own tries, which go on for minutes, would only hold things up.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
_PATIENCE = 5.0  # seconds for a server to answer


@dataclass(frozen=True)
class Store:
    """An open store and the experiment that runs go to.

    Args:
        uri: MLflow's tracking URI.
        experiment_id: of the experiment.
        client: an ``mlflow.MlflowClient`` for that URI.
        lock: a file that processes on this machine lock to create things once.
    """

    uri: str
    experiment_id: str
    client: Any
    lock: Path


def open_store(uri: str, experiment: str, artifacts: str | None, lock: Path, *, create: bool = True) -> Store:
    """Open a store, creating database and experiment under a lock: MLflow itself does not survive several
    processes that do so at once.

    Args:
        uri: ``sqlite:///<file>`` or ``http(s)://<server>``; a relative file is taken from the current folder.
        experiment: the experiment's name.
        artifacts: folder of the artifacts of a new experiment; None: the server's own.
        lock: file to lock while creating.
        create: False where something that exists is to be read.

    Raises:
        InputError: the server does not answer, the database cannot be opened, or it is not there and is not to be
            created.
    """
    uri = _absolute(uri)
    check_reachable(uri)
    if not create and uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise InputError(
            f"tracking.uri={uri}: there is no such file, so nothing was run yet; start in the folder where "
            "lesionseg train was started, or set paths.outputs"
        )
    _quiet()
    from alembic.util import CommandError
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        try:
            if uri.startswith("sqlite:///"):
                _make_database(Path(uri.removeprefix("sqlite:///")))
            client = MlflowClient(tracking_uri=uri)
            found = client.get_experiment_by_name(experiment)
            if found is None:
                location = None if artifacts is None else Path(artifacts).expanduser().resolve().as_uri()
                experiment_id = client.create_experiment(experiment, artifact_location=location)
            else:
                experiment_id = found.experiment_id
        except (MlflowException, SQLAlchemyError, CommandError) as error:
            raise InputError(
                f"tracking.uri={uri}: MLflow cannot open it ({str(error).splitlines()[0]}); move the file away, or "
                "set tracking.uri to another one"
            ) from error
    return Store(uri, str(experiment_id), client, lock)


def _make_database(file: Path) -> None:
    """Make a database under another name, and then rename it: MLflow makes it in dozens of steps, and one that is left
    between two of them can never be opened again. The caller holds the lock."""
    from mlflow import MlflowClient

    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".partial-{file.name}")
    for left in file.parent.glob(f"{partial.name}*"):
        left.unlink()
    client = MlflowClient(tracking_uri=f"sqlite:///{partial}")
    client.search_experiments(max_results=1)
    client._tracking_client.store.engine.dispose()
    os.replace(partial, file)


def check_reachable(uri: str) -> None:
    """See that a server listens, or that a database file can be written; in a few seconds at most.

    Raises:
        InputError: it does not, or cannot.
    """
    parts = urlparse(uri)
    if parts.scheme in ("http", "https"):
        fault = _server_fault(uri)
        if fault:
            raise InputError(
                f"tracking.uri={uri}: no server answers there ({fault}); start it, or use the embedded store with "
                "tracking=sqlite"
            )
    elif uri.startswith("sqlite:///"):
        _check_writable(Path(uri.removeprefix("sqlite:///")), uri)
    else:
        raise InputError(f"tracking.uri={uri}: write sqlite:///<file> or http://<server>:<port>")


def fault_of(attempt: Callable[[], Any]) -> str | None:
    """Why something could not be done with MLflow; None if it could."""
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


def _server_fault(uri: str) -> str | None:
    """Why a server gives no answer, or says that it is out of order; None if it is there.

    Asked with a limit of time, because MLflow itself tries for minutes.
    """
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


def _check_writable(database: Path, uri: str) -> None:
    place = database if database.exists() else database.parent
    while not place.exists():
        place = place.parent
    if database.parent.exists() and not database.parent.is_dir():
        raise InputError(f"tracking.uri={uri}: {database.parent} is a file; choose another place")
    if database.is_dir() or not os.access(place, os.W_OK):
        raise InputError(f"tracking.uri={uri}: {place} cannot be written to; choose another place")


def _absolute(uri: str) -> str:
    if not uri.startswith("sqlite:///"):
        return uri
    return f"sqlite:///{Path(uri.removeprefix('sqlite:///')).expanduser().resolve()}"


def _quiet() -> None:
    """MLflow tells of every step of a database's making; nobody needs to read that."""
    import logging

    for name in ("mlflow.store.db.utils", "alembic", "alembic.runtime.migration"):
        logging.getLogger(name).setLevel(logging.WARNING)

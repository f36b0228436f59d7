"""A store is made once, whoever asks, and says at once if it cannot be had."""

import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socket import socket
from typing import Any

import pytest
import sqlalchemy

from lesionseg.errors import InputError
from lesionseg.tracking import mlflow_store
from lesionseg.tracking.artifacts import artifacts_of
from lesionseg.tracking.mlflow_store import check_reachable, fault_of, open_store, start_run

OPEN = """
import os, sys
from pathlib import Path
from lesionseg.tracking.mlflow_store import open_store
from lesionseg.tracking.mlflow_store import start_run
from lesionseg.tracking.sweep import sweep_parent
folder = Path(sys.argv[1])
own = folder.parent / f"outputs{os.getpid()}" / ".lock"  # several folders of outputs share one database
store = open_store(f"sqlite:///{folder}/mlflow.db", "exp", str(folder / "artifacts"), own)
run = start_run(store, "run", {}, parent=sweep_parent(store, "first"))
print(store.experiment_id, sweep_parent(store, "first"), run.run_id)
"""


def _fault(uri: str) -> str:
    with pytest.raises(InputError) as caught:
        check_reachable(uri)
    (fault,) = caught.value.faults
    return fault


@contextmanager
def _server(answer: int, delay: threading.Event | None = None) -> Iterator[str]:
    """A server on this machine that answers everything with one status, after ``delay`` is set if one is given."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if delay is not None:
                delay.wait(20)
            self.send_response(answer)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        if delay is not None:
            delay.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.slow
def test_several_processes_open_a_store_that_is_not_there_yet(tmp_path, environment):
    command = [sys.executable, "-c", OPEN, str(tmp_path / "new")]
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    ends = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], ends
    experiments, parents, runs = zip(*(out.split() for out, _ in ends), strict=True)
    assert len(set(experiments)) == 1
    assert len(set(parents)) == 1
    assert len(set(runs)) == 3


def test_artifacts_lie_where_they_should_wherever_one_stands(tmp_path, with_store, monkeypatch):
    with_store(tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    store = open_store("sqlite:///~/mlflow.db", "exp", "my artifacts", tmp_path / ".lock")
    assert store.uri == f"sqlite:///{tmp_path}/home/mlflow.db"
    location = store.client.get_experiment(store.experiment_id).artifact_location
    assert location == (tmp_path / "my artifacts").as_uri()
    monkeypatch.chdir("/")
    again = open_store("sqlite:///~/mlflow.db", "exp", "elsewhere", tmp_path / ".lock")
    assert again.experiment_id == store.experiment_id
    other = open_store("sqlite:///~/mlflow.db", "other", "~/artifacts", tmp_path / ".lock")
    location = other.client.get_experiment(other.experiment_id).artifact_location
    assert location == (tmp_path / "home" / "artifacts").as_uri()


def test_outputs_that_were_moved_or_copied_have_their_artifacts(tmp_path, with_store):
    def opened(folder: Path) -> Any:
        return open_store(f"sqlite:///{folder}/mlflow.db", "exp", str(folder / "artifacts"), folder / ".lock")

    store = opened(with_store(tmp_path / "old"))
    run = start_run(store, "a", {})
    (tmp_path / "cases.csv").write_text("study\n")
    run.log_file(tmp_path / "cases.csv")
    shutil.copytree(tmp_path / "old", tmp_path / "copied")
    (tmp_path / "old").rename(tmp_path / "new")
    for place in ("new", "copied"):
        read = open_store(f"sqlite:///{tmp_path / place}/mlflow.db", "exp", None, tmp_path / "never", create=False)
        in_place = tmp_path / place / "artifacts" / run.run_id / "artifacts"
        assert artifacts_of(read, read.client.get_run(run.run_id)).folder == in_place
        moved = opened(tmp_path / place)
        found = moved.client.get_run(run.run_id)
        assert found.info.artifact_uri == in_place.as_uri()
        assert [file.path for file in moved.client.list_artifacts(run.run_id)] == ["cases.csv"]


def test_a_deleted_experiment_and_a_newer_database_are_told(tmp_path, with_store):
    uri = f"sqlite:///{with_store(tmp_path)}/mlflow.db"
    store = open_store(uri, "gone", None, tmp_path / ".lock")
    store.client.delete_experiment(store.experiment_id)
    with pytest.raises(InputError, match=f"mlflow experiments restore -x {store.experiment_id}"):
        open_store(uri, "gone", None, tmp_path / ".lock")
    shutil.copy(tmp_path / "mlflow.db", tmp_path / "newer.db")  # what was opened is not looked at again
    with closing(sqlite3.connect(tmp_path / "newer.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'fffffffffff'")
    with pytest.raises(InputError, match="another version of MLflow made it"):
        open_store(f"sqlite:///{tmp_path}/newer.db", "exp", None, tmp_path / ".lock")


@pytest.mark.parametrize("seconds", [0.5, pytest.param(7, marks=pytest.mark.slow)])  # SQLite's own wait is five
def test_a_locked_database_is_waited_for_and_who_holds_it_is_said(tmp_path, with_store, seconds):
    uri = f"sqlite:///{with_store(tmp_path)}/mlflow.db"
    with closing(sqlite3.connect(tmp_path / "mlflow.db", check_same_thread=False)) as database:
        database.execute("BEGIN EXCLUSIVE")
        timer = threading.Timer(seconds, database.rollback)
        timer.start()
        open_store(uri, "exp", None, tmp_path / ".lock")
        timer.join()
    with sqlalchemy.create_engine(uri).connect() as connection:  # as MLflow opens it
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 90_000
    assert mlflow_store._way_out("database is locked", tmp_path / "mlflow.db").startswith(
        "it was locked for 90 s, held"
    )


def test_what_is_to_be_read_is_not_created(tmp_path):
    with pytest.raises(InputError) as caught:
        open_store(f"sqlite:///{tmp_path}/mlflow.db", "exp", None, tmp_path / ".lock", create=False)
    assert str(caught.value) == (
        f"tracking.uri=sqlite:///{tmp_path}/mlflow.db: there is no such file, so nothing was run yet; start in the "
        "folder where lesionseg train was started, or set paths.outputs"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_there_will_do(tmp_path):
    with _server(200) as uri:
        check_reachable(uri)
    with _server(401) as uri:  # it wants a password: MLflow's own settings have that
        check_reachable(f"{uri}/some/path/")
        with pytest.raises(InputError):
            check_reachable(uri.replace("http://", "https://"))
        with pytest.raises(InputError) as caught:
            open_store(uri, "exp", None, tmp_path / "never")
    (fault,) = caught.value.faults
    assert fault.endswith("it wants a login: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD")
    assert "\n" not in fault


def test_no_server_is_told_within_seconds(tmp_path):
    with closing(socket()) as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
    began = time.monotonic()
    assert _fault(uri) == (
        f"tracking.uri={uri}: no server answers there ([Errno 111] Connection refused); start it, or use the embedded "
        "store with tracking=sqlite"
    )
    with pytest.raises(InputError, match="no server answers there"):
        open_store(uri, "exp", None, tmp_path / "never")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("http://127.0.0.1:abc", "(Port could not be cast to integer value as 'abc')"),
        ("http://", "(no host given)"),
        ("http://no-such-host.invalid", "no server answers there ("),
    ],
)
def test_an_address_that_is_none_is_told(uri, reason):
    fault = _fault(uri)
    assert fault.startswith(f"tracking.uri={uri}: no server answers there (")
    assert reason in fault


def test_what_mlflow_may_stumble_over_is_told_in_a_line_and_what_is_wrong_with_the_program_is_raised():
    from mlflow.exceptions import MlflowException
    from requests.exceptions import ConnectionError as NoConnection
    from sqlalchemy.exc import OperationalError

    def fault(error: Exception) -> str | None:
        def attempt() -> None:
            raise error

        return fault_of(attempt)

    assert fault_of(lambda: 1) is None
    assert fault(InputError(["one", "two"])) == str(InputError(["one", "two"])), "ours says all it has to say"
    assert fault(MlflowException("no such run\nand more")) == "no such run"
    assert fault(NoConnection("refused\nand more")) == "refused"
    assert fault(OperationalError("select", {}, Exception("database is locked"))) == (
        "(builtins.Exception) database is locked"
    )
    assert fault(OSError(28, "No space left on device")) == "[Errno 28] No space left on device"
    assert fault(TimeoutError()) == "TimeoutError"
    with pytest.raises(TypeError):
        fault(TypeError("a mistake"))

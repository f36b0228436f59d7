"""A tracking server that goes away while a sweep is running, and comes back."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from mlflow import MlflowClient

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path, with_store: Any, wait_until: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The address of a server of MLflow, and what starts it (again)."""
    folder = with_store(tmp_path / "server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--port", str(port), "--workers", "1"]
    calm = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    running: list[Any] = []

    def answers() -> bool | None:
        try:
            with urlopen(f"{address}/health", timeout=5):
                return True
        except (URLError, OSError):
            return None

    def start() -> Any:
        with (tmp_path / "server.log").open("ab") as log:
            process = subprocess.Popen(
                command, env={**os.environ, **calm}, stdout=log, stderr=log, start_new_session=True
            )
        running.append(process)
        wait_until(answers)
        return process

    yield address, start
    for process in running:
        if process.poll() is None:
            _stop(process)


def _stop(process: Any) -> None:
    """The server with all its workers, without notice."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_training_goes_on_without_the_server_and_sync_sends_what_was_kept(
    server, start, inside, wait_until, cohort, tiny, tmp_path
):
    address, start_server = server
    first = start_server()
    tracking = ("tracking=server", f"tracking.uri={address}")
    arguments = ("train", "--multirun", "dataset=bids", f"dataset.root={cohort.root}", *tiny, *tracking)
    arguments += ("trainer.steps=150", "trainer.validate_every=50", "train_size=2,3", "sweep=away")
    sweep = start(tmp_path, *arguments, "tracking.patience=1")
    sweep.says("step 50/150")
    _stop(first)
    code, told = sweep.end()
    remedy = f"lesionseg sync tracking=server tracking.uri={address} sends it"
    assert code == 1, told
    assert told.count("MLflow does not take what is logged; the work goes on, and it is kept: ") == 2, told
    assert told.count(f"waits to be sent to MLflow; {remedy}") == 2, told
    assert f"tracking.uri={address}: no server answers there" in told
    assert f"Sweep away: MLflow is away. What was logged is kept; {remedy}." in told

    without = inside(tmp_path, "sync", *tracking)
    assert without.code == 2
    assert "no server answers there" in without.err
    start_server()
    sync = inside(tmp_path, "sync", *tracking)
    assert (sync.code, sync.err) == (0, "")
    assert sync.out.endswith(f"2 of 2 runs with something to send were sent to {address}.\n")

    client = MlflowClient(tracking_uri=address)
    experiment = client.get_experiment_by_name("lesionseg")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    for run in (run for run in runs if run.data.tags["lesionseg.kind"] == "run"):
        steps = [entry.step for entry in client.get_metric_history(run.info.run_id, "train/loss")]
        assert sorted(steps) == list(range(1, 151))
        assert "test/lesion_f1" in run.data.metrics
        paths = {entry.path for entry in client.list_artifacts(run.info.run_id)}
        assert {"cases.csv", "checkpoints", "config.yaml", "lesions.csv"} <= paths

    again = inside(tmp_path, *arguments)
    assert again.code == 0, again.out + again.err
    assert again.out.count("is finished already (run ") == 2
    assert "Sweep away: 2 of 2 runs finished (100 %).\n" in again.out

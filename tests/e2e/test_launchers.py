"""Sweeps whose jobs run in other processes; on SLURM: tests/slurm."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.slow

SECONDS = 120


def wait_until(what: str, true: Callable[[], object], seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def sweep(cohort: Any, tiny: Any) -> tuple[str, ...]:
    """Arguments of a sweep of two repeats."""
    return ("train", "--multirun", "dataset=bids", f"dataset.root={cohort.root}", *tiny, "train_size=2", "repeat=0,1")


@pytest.fixture(scope="module")
def with_joblib(sweep, lesionseg, with_store, tmp_path_factory):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    folder = tmp_path_factory.mktemp("joblib, two (at once)")
    with_store(folder / "outputs")
    return folder, lesionseg(folder, *sweep, "sweep=two", "hydra/launcher=joblib")


def test_joblib_runs_the_jobs(with_joblib, runs_in):
    folder, done = with_joblib
    assert done.code == 0, done.out + done.err
    parent, *children = runs_in(folder)
    assert [run.info.status for run in (parent, *children)] == ["FINISHED"] * 3
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}


def test_joblibs_jobs_tell_what_they_do_and_nothing_else_does(with_joblib):
    _, done = with_joblib
    assert done.err == "", "no warning, neither of Hydra's nor of the launcher's"
    for job in ("[1/2", "[2/2"):
        assert any(job in line and "step 4/4" in line for line in done.out.splitlines())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_jobs_end_with_the_process_that_launched_them_unless_that_is_killed_outright(
    number, code, sweep, command_line, environment, with_store, runs_in, tmp_path
):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    with_store(tmp_path / "outputs")
    long = ("trainer.steps=20000", "trainer.validate_every=10", "sweep=long", "hydra/launcher=joblib")
    with (tmp_path / "told.txt").open("w") as told:
        parent = subprocess.Popen(
            command_line(*sweep, *long),
            cwd=tmp_path,
            env=environment,
            stdout=told,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def lines(text: str) -> list[str]:
        return [line for line in (tmp_path / "told.txt").read_text().splitlines() if text in line]

    def processes() -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(ProcessLookupError):
                if process.pid != parent.pid and os.getsid(process.pid) == parent.pid:
                    found.append(process)
        return found

    try:
        wait_until("the first job is under way", lambda: any("[1/2" in line for line in lines("step 10/")))
        wait_until("so is the second", lambda: any("[2/2" in line for line in lines("step 10/")))
        wait_until("MLflow knows the sweep and both runs", lambda: len(runs_in(tmp_path)) == 3)
        parent.send_signal(number)
        assert parent.wait(SECONDS) == code
        if number == signal.SIGKILL:
            seen = len(lines("step "))
            wait_until("the jobs go on", lambda: len(lines("step ")) > seen)
        else:
            wait_until("no process is left", lambda: not processes(), 20)
            assert [run.info.status for run in runs_in(tmp_path)] == ["KILLED"] * 3
    finally:
        parent.kill()
        for process in processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture
def ray_cluster() -> Iterator[str]:
    """The address of a Ray cluster of this computer alone."""
    for module in ("ray", "hydra_plugins.hydra_ray_launcher"):
        pytest.importorskip(module)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # the paths of its sockets must be short
    options = ("--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={folder}")
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--node-ip-address=127.0.0.1"]
    with subprocess.Popen([*command, f"--port={port}", *options], stdout=subprocess.PIPE, text=True) as cluster:
        assert cluster.stdout is not None
        processes: list[psutil.Process] = []
        try:
            for line in cluster.stdout:
                if "Ray runtime started" in line:
                    break
            processes = psutil.Process(cluster.pid).children(recursive=True)
            yield f"127.0.0.1:{port}"
        finally:
            cluster.terminate()
            for process in psutil.wait_procs(processes, timeout=20)[1]:
                process.kill()
            cluster.stdout.close()
    shutil.rmtree(folder, ignore_errors=True)


def test_ray_runs_the_jobs_on_a_cluster(ray_cluster, sweep, lesionseg, with_store, runs_in, tmp_path):
    with_store(tmp_path / "outputs")
    launcher = ("hydra/launcher=ray", f"hydra.launcher.ray.init.address={ray_cluster}")
    done = lesionseg(tmp_path, *sweep, f"paths.outputs={tmp_path}/outputs", "sweep=two", *launcher)
    assert done.code == 0, done.out + done.err
    assert [run.info.status for run in runs_in(tmp_path)] == ["FINISHED"] * 3
    assert "_run_job" in done.out, "a task of Ray's said it"

"""A sweep on a real SLURM, one job of which reaches its time limit: make test-slurm."""

import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

STEPS = 8000  # SLURM looks at its time limits twice a minute, and the job must not have ended by then

pytestmark = pytest.mark.skipif(
    "TEST_SLURM" not in os.environ, reason="needs the SLURM that tests/slurm/cluster.sh starts: make test-slurm"
)


@dataclass(frozen=True)
class Submitted:
    """A sweep that SLURM ran.

    Args:
        code: of the command that submitted it and waited.
        told: what that said.
        throttle: how many of its jobs SLURM ran at once, at most.
        logs: of the jobs, by number.
        runs: everything that MLflow has.
        outputs: the folder.
    """

    code: int
    told: str
    throttle: int
    logs: list[str]
    runs: list[Any]
    outputs: Path

    @property
    def parent(self) -> Any:
        (parent,) = (run for run in self.runs if "mlflow.parentRunId" not in run.data.tags)
        return parent

    @property
    def children(self) -> dict[tuple[str, str], Any]:
        """Number of steps and repeat to run."""
        children = [run for run in self.runs if "mlflow.parentRunId" in run.data.tags]
        return {(run.data.params["steps"], run.data.params["repeat"]): run for run in children}


def slurm(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def wait_for(what: str, found: Callable[[], Any], seconds: float) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := found():
            return result
        time.sleep(0.5)
    raise AssertionError(f"{what}: not within {seconds:.0f} s\n{slurm('squeue', '--all')}")


@pytest.fixture(scope="module")
def submitted(cohort, tiny, command_line, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("slurm")
    outputs = folder / "outputs"
    launcher = {
        "timeout_min": 10,
        "signal_delay_s": 60,
        "max_num_timeout": 2,
        "array_parallelism": 2,
        "cpus_per_task": 1,
        "gpus_per_node": "null",
        "mem_gb": "null",
    }
    arguments = (
        *("train", "--multirun", "dataset=bids", f"dataset.root={cohort.root}", *tiny, "train_size=2", "sweep=slurm"),
        *(f"trainer.steps={STEPS},4", "repeat=0,1", "trainer.validate_every=1000", "trainer.checkpoint_every=100"),
        *("hydra/launcher=submitit_slurm", *(f"hydra.launcher.{key}={value}" for key, value in launcher.items())),
    )
    with (folder / "told.txt").open("w") as told:
        process = subprocess.Popen(
            command_line(*arguments), cwd=folder, env=environment, stdout=told, stderr=subprocess.STDOUT
        )
    try:
        log = wait_for("the first job's log", lambda: next(outputs.glob("submitit/*_0/*_log.out"), None), 120)
        job = log.parent.name
        throttle = re.search(r"ArrayTaskThrottle=(\d+)", slurm("scontrol", "show", "job", job))
        pattern = "runs/slurm/scratch-n2-r0-*/checkpoints/last*.ckpt"
        wait_for("the first job's checkpoint", lambda: "step" in log.read_text() and list(outputs.glob(pattern)), 120)
        passed = int(slurm("squeue", "--noheader", "--format=%M", f"--jobs={job}").split(":")[0])
        slurm("scontrol", "update", f"jobid={job}", f"timelimit={passed + 2}")
        wait_for("the end of the job's time", lambda: "Requeued job" in log.read_text(), 200)
        slurm("scontrol", "update", f"jobid={job}", "timelimit=10")
        process.wait(timeout=600)
    finally:
        process.kill()
        said = (folder / "told.txt").read_text()
        print(said, *(file.read_text() for file in outputs.glob("submitit/*/*_log.out")), sep="\n")
    client = MlflowClient(f"sqlite:///{outputs}/mlflow.db")
    experiment = client.get_experiment_by_name("lesionseg")
    assert throttle is not None
    assert experiment is not None
    return Submitted(
        process.returncode,
        said,
        int(throttle[1]),
        [next(outputs.glob(f"submitit/*_{number}/*_log.out")).read_text() for number in range(4)],
        client.search_runs([experiment.experiment_id]),
        outputs,
    )


def test_four_jobs_and_the_sweep_itself_are_finished(submitted):
    assert submitted.code == 0, submitted.told
    assert len(submitted.runs) == 5
    assert set(submitted.children) == {(steps, repeat) for steps in (str(STEPS), "4") for repeat in ("0", "1")}
    assert {run.info.status for run in submitted.runs} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in submitted.children.values()} == {
        submitted.parent.info.run_id
    }


def test_no_more_jobs_ran_at_once_than_was_asked_for(submitted):
    assert submitted.throttle == 2


def test_the_job_that_reached_its_time_limit_went_on_in_the_same_run(submitted):
    log = submitted.logs[0]
    before, _, after = log.partition("Requeued job")
    assert "Caught signal SIGUSR2" in before
    assert "this job is timed-out" in before
    run = submitted.children[str(STEPS), "0"]
    assert f"goes on (run {run.info.run_id})" in after
    assert log.count("Requeued job") == 1
    assert not any("Requeued job" in other for other in submitted.logs[1:])


def test_what_it_had_done_was_not_done_again(submitted):
    client = MlflowClient(f"sqlite:///{submitted.outputs}/mlflow.db")
    run = submitted.children[str(STEPS), "0"]
    steps = [entry.step for entry in client.get_metric_history(run.info.run_id, "val/dice")]
    assert steps == list(range(1000, STEPS + 1, 1000))

"""What becomes of a run that is stopped, and of a sweep in which one fails."""

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
def test_a_stopped_run_is_killed_and_goes_on_in_the_same_run(
    cohort, tiny, tmp_path, inside, with_store, command_line, environment, runs_in, store_in
):
    more = ("train_size=2", "trainer.steps=80", "trainer.validate_every=10", "sweep=stopped")
    arguments = ("train", "dataset=bids", f"dataset.root={cohort.root}", *tiny, *more)
    with_store(tmp_path / "outputs")
    process = subprocess.Popen(
        command_line(*arguments),
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    told = []
    for line in process.stdout:  # read until it is well under way
        told.append(line)
        if "step 20/80" in line:
            break
    process.send_signal(signal.SIGTERM)
    told.append(process.communicate(timeout=60)[0])
    assert process.returncode == 143, "".join(told)
    parent, run = runs_in(tmp_path)
    assert (run.info.status, parent.info.status) == ("KILLED", "KILLED")
    assert (tmp_path / "outputs").is_dir()
    (last,) = tmp_path.rglob("last.ckpt")
    assert not list(tmp_path.rglob("cases.csv"))

    again = inside(tmp_path, *arguments)
    assert again.code == 0, again.out + again.err
    assert f"was interrupted before and goes on (run {run.info.run_id})" in again.out
    assert "step 10/80" not in again.out, "what was done is not done again"
    assert "step 80/80" in again.out
    parent, resumed = runs_in(tmp_path)
    assert resumed.info.run_id == run.info.run_id
    assert (resumed.info.status, parent.info.status) == ("FINISHED", "FINISHED")
    client = store_in(tmp_path).client
    validated = [entry.step for entry in client.get_metric_history(run.info.run_id, "val/dice")]
    assert sorted(set(validated)) == list(range(10, 81, 10))
    assert not last.exists()


@pytest.fixture(scope="module")
def failing(inside: Any, with_store: Any, cohort: Any, tiny: Any, tmp_path_factory: Any) -> tuple[Path, Any]:
    """Two jobs, the first of which cannot end well."""
    folder = tmp_path_factory.mktemp("failing")
    with_store(folder / "outputs")
    own = [text for text in tiny if not text.startswith("optim.learning_rate")]
    more = ("train_size=2", "optim.learning_rate=1e30,0.01")
    return folder, inside(folder, "train", "-m", "dataset=bids", f"dataset.root={cohort.root}", *own, *more)


def test_a_job_that_fails_stops_no_other(failing, runs_in):
    folder, done = failing
    assert done.code == 1
    parent, failed, finished = runs_in(folder)
    assert [run.info.status for run in (parent, failed, finished)] == ["FAILED", "FAILED", "FINISHED"]
    assert failed.data.params["learning_rate"] == "1e+30"
    assert parent.info.run_name.startswith("sweep-"), "without a name it gets one"
    assert f"Sweep {parent.info.run_name}: 1 of 2 runs finished (50 %), 1 failed.\n" in done.out
    assert "1 of the 2 runs of this command are not finished:\n" in done.out
    assert "\nscratch-n2-r0 optim.learning_rate=1e+30  failed   NotFiniteError: the loss is " in done.out


def test_the_reason_is_told_and_kept(failing, runs_in, artifacts):
    folder, done = failing
    _, failed, _ = runs_in(folder)
    reason = (artifacts(failed) / "error.txt").read_text()
    for text in (reason, done.out):
        assert "NotFiniteError: the loss is " in text
        assert "in a batch of sub-" in text
    assert "[1/2] flair_lesions scratch n=2 repeat=0  FAILED\n" in done.out
    assert "HYDRA_FULL_ERROR" not in done.out + done.err


def test_an_older_failure_in_the_sweep_is_told_and_is_no_failure_of_this_command(
    failing, runs_in, inside, cohort, tiny
):
    folder, _ = failing
    parent, *_ = runs_in(folder)
    sweep = parent.info.run_name
    arguments = ("train", "dataset=bids", f"dataset.root={cohort.root}", *tiny, "train_size=2", f"sweep={sweep}")
    done = inside(folder, *arguments)
    assert (done.code, done.err) == (0, "")
    assert "is finished already" in done.out
    assert f"Sweep {sweep}: 1 of 2 runs finished (50 %), 1 failed.\n" in done.out
    assert runs_in(folder)[0].info.status == "FAILED"


@pytest.mark.slow
def test_a_run_that_meets_a_full_disk_leaves_nothing_half_written_and_goes_on_when_there_is_room(
    start, inside, with_store, runs_in, cohort, tiny, tmp_path
):
    with_store(tmp_path / "outputs")
    arguments = ("train", "dataset=bids", f"dataset.root={cohort.root}", *tiny, "train_size=2", "sweep=full")
    arguments += ("model.network.widths=[24,48]",)  # with a checkpoint that is larger than the database
    code, told = start(tmp_path, *arguments, largest=1_600_000).end()
    assert code == 1, told
    assert "MB of it were written): " in told
    assert "; make room, and the same command goes on\n" in told
    assert "Traceback" not in told
    assert "scratch-n2-r0  failed   OSError: [Errno 27] File too large (" in told
    parent, run = runs_in(tmp_path)
    assert (parent.info.status, run.info.status) == ("FAILED", "FAILED")
    assert not [path for path in (tmp_path / "outputs").rglob("*") if ".partial" in path.name]
    assert not list(tmp_path.rglob("last.ckpt"))

    again = inside(tmp_path, *arguments)
    assert again.code == 0, again.out + again.err
    assert f"was interrupted before and goes on (run {run.info.run_id})" in again.out
    assert [run.info.status for run in runs_in(tmp_path)] == ["FINISHED", "FINISHED"]


def test_a_sweep_whose_source_model_cannot_be_trained_is_left_waiting(
    inside, with_store, runs_in, cohort, source_cohort, tiny, tmp_path
):
    with_store(tmp_path / "outputs")
    data = ("dataset=bids", f"dataset.root={cohort.root}", *tiny, "train_size=2,3", "sweep=waiting", "init=pretrained")
    source = f"dataset=bids,dataset.root={source_cohort.root},dataset.name=other,train_size=3,optim.learning_rate=1e30"
    done = inside(tmp_path, "train", "-m", *data, f"init.source=[{','.join(map(_quoted, source.split(',')))}]")
    assert done.code == 1
    assert "The source model could not be trained; nothing else was started.\n" in done.err
    assert "Sweep waiting: 0 of 2 runs finished (0 %), 2 waiting.\n" in done.out
    parent, failed = runs_in(tmp_path)
    assert (parent.info.status, failed.info.status) == ("KILLED", "FAILED")
    status = inside(tmp_path, "status", "sweep=waiting")
    assert [line.split() for line in status.out.splitlines()[2:4]] == [
        ["pretrained-n2-r0", "waiting"],
        ["pretrained-n3-r0", "waiting"],
    ]


def _quoted(override: str) -> str:
    return f'"{override}"'


@pytest.mark.slow
@pytest.mark.parametrize("until", ["step 10/80", "[2/2"])
def test_ctrl_c_ends_a_sweep_at_once_and_the_same_command_goes_on(
    until, cohort, tiny, tmp_path, inside, with_store, command_line, environment, runs_in
):
    more = ("train_size=2", "repeat=0,1", "trainer.steps=80", "trainer.validate_every=10", "sweep=stopped")
    arguments = ("train", "--multirun", "dataset=bids", f"dataset.root={cohort.root}", *tiny, *more)
    with_store(tmp_path / "outputs")
    process = subprocess.Popen(
        command_line(*arguments),
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        told.append(line)
        if until in line:
            break
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    told.append(process.communicate(timeout=60)[0])
    text = "".join(told)
    assert process.returncode == 130, text
    assert time.monotonic() - began < 10, "five seconds where nothing else runs"
    assert "Traceback" not in text
    assert text.endswith("Stopped; the same command goes on where it was.\n")
    parent, *runs = runs_in(tmp_path)
    assert parent.info.status == "KILLED"
    assert runs[-1].info.status == "KILLED"
    again = inside(tmp_path, *arguments)
    assert again.code == 0, again.out + again.err
    assert {run.info.status for run in runs_in(tmp_path)} == {"FINISHED"}


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [1.0, 2.5])
def test_ctrl_c_while_it_starts_is_one_line(seconds, cohort, tiny, tmp_path, command_line, environment):
    arguments = ("train", "dataset=bids", f"dataset.root={cohort.root}", *tiny, "train_size=2")
    process = subprocess.Popen(
        command_line(*arguments),
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    text = process.communicate(timeout=30)[0]
    assert process.returncode == 130, text
    assert text.endswith("Stopped; the same command goes on where it was.\n")
    assert "Traceback" not in text

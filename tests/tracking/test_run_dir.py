"""A run directory: its lock, what it keeps across a kill, and that nothing is logged twice."""

import os
import signal
import subprocess
import sys
import time

import pytest
from filelock import FileLock

from lesionseg.errors import InputError
from lesionseg.tracking.run_dir import RunDir, try_lock

HOLD = """
import sys, time
from pathlib import Path
from lesionseg.tracking.run_dir import RunDir
with RunDir(Path(sys.argv[1])).locked() as free:
    print(free, flush=True)
    time.sleep(600)
"""


def test_the_lock_is_held_by_one_and_free_the_moment_its_process_is_killed(tmp_path):
    run_dir = RunDir(tmp_path / "run")
    assert not run_dir.is_locked()
    command = [sys.executable, "-c", HOLD, str(run_dir.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        assert run_dir.is_locked()
        with run_dir.locked() as free:
            assert not free
        os.kill(process.pid, signal.SIGKILL)
    with run_dir.locked() as free:
        assert free


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(InputError, match=r"paths\.outputs=.*has no locks"), try_lock(tmp_path / ".lock"):
        pass


def test_metrics_are_logged_once_per_name_and_step_and_never_nan(tmp_path):
    run_dir = RunDir(tmp_path)
    run_dir.log_metrics({"train/loss": 0.5, "val/dice": float("nan")}, step=1)
    run_dir.log_metrics({"train/loss": 0.7}, step=1)
    RunDir(tmp_path).log_metrics({"train/loss": 0.9}, step=1)  # another process, gone on from a checkpoint
    run_dir.log_metrics({"train/loss": 0.1 + 0.2}, step=2)
    assert [(step, key, value) for step, _, key, value in run_dir.metrics()] == [
        (1, "train/loss", 0.5),
        (2, "train/loss", 0.1 + 0.2),
    ]
    assert run_dir.metrics(1) == run_dir.metrics()[1:]


def test_a_line_in_which_a_process_was_killed_is_cut(tmp_path):
    run_dir = RunDir(tmp_path)
    run_dir.log_metrics({"a": 1.0}, step=1)
    with (tmp_path / "metrics.csv").open("a") as stream:
        stream.write("2,17000,a,0.")
    assert len(run_dir.metrics()) == 1, "half a line is none"
    again = RunDir(tmp_path)
    again.log_metrics({"a": 2.0}, step=2)
    assert [(step, value) for step, _, _, value in again.metrics()] == [(1, 1.0), (2, 2.0)]


@pytest.mark.parametrize("content", [b"", b"[1]", b"{half", bytes(40), b"\xff\xfe"])
def test_what_a_disk_left_of_a_file_is_set_aside(tmp_path, content, caplog):
    run_dir = RunDir(tmp_path)
    run_dir.begin(name="a", sweep=None, params={}, tags={}, dataset={})
    for name, read in (("status.json", run_dir.read), ("sent.json", run_dir.sent)):
        (tmp_path / name).write_bytes(content)
        assert read().get("run_id") is None
        assert (tmp_path / f"{name}.damaged").read_bytes() == content
        assert f"{name} is damaged; it is set aside" in caplog.text
    run_dir.begin(name="a", sweep=None, params={}, tags={}, dataset={})
    assert run_dir.read()["name"] == "a"


def test_a_damaged_line_costs_that_line_alone(tmp_path, caplog):
    run_dir = RunDir(tmp_path)
    for step in (1, 2, 3):
        run_dir.log_metrics({"a": step / 2}, step=step)
    lines = (tmp_path / "metrics.csv").read_bytes().splitlines(keepends=True)
    (tmp_path / "metrics.csv").write_bytes(lines[0] + bytes(5) + b'\xff"\n' + lines[2])
    assert [(step, value) for step, _, _, value in RunDir(tmp_path).metrics()] == [(1, 0.5), (3, 1.5)]
    assert "is damaged and left out" in caplog.text


def test_a_run_that_is_done_forgets_an_earlier_failure(tmp_path):
    run_dir = RunDir(tmp_path)
    run_dir.begin(name="a", sweep=None, params={}, tags={}, dataset={})
    (tmp_path / "error.txt").write_text("no")
    run_dir.log_file(tmp_path / "error.txt")
    run_dir.set_tag("lesionseg.error", "no")
    run_dir.forget_failure()
    assert (run_dir.read()["files"], run_dir.read()["tags"]) == ({}, {"lesionseg.error": ""})
    assert not (tmp_path / "error.txt").exists()


def test_what_a_run_is_and_how_far_it_is_can_be_read_by_others(tmp_path):
    run_dir, other = RunDir(tmp_path), RunDir(tmp_path)
    assert not other.exists
    run_dir.begin(name="scratch-n2-r0", sweep="s", params={"init": "scratch"}, tags={"a": "1"}, dataset={})
    run_dir.set_tag("b", "2")
    run_dir.note_progress("training", step=3, seconds_left=9.0)
    (tmp_path / "cases.csv").touch()
    run_dir.log_file(tmp_path / "cases.csv")
    found = other.read()
    assert (found["name"], found["status"], found["tags"]) == ("scratch-n2-r0", "RUNNING", {"a": "1", "b": "2"})
    assert found["progress"] == {"phase": "training", "step": 3, "seconds_left": 9.0}
    assert found["files"] == {"cases.csv": None}
    assert found["began"] <= time.time()
    run_dir.end("FINISHED")
    assert (other.read()["status"], other.read()["progress"]) == ("FINISHED", {})
    run_dir.clear()
    assert other.read() == {}

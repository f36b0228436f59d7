"""Workers whose parent is killed or stopped: real processes, started as loky starts them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lesionseg.runs.orphan import at_work, workers_end_first

PARENT = """
import subprocess, sys
worker = subprocess.Popen([sys.executable, "-c", sys.argv[1], "popen_loky"], stdout=subprocess.PIPE, text=True)
print(worker.pid, flush=True)
print(worker.stdout.readline(), end="", flush=True)
{then}
"""
WORKER = """
import signal, sys, time
from lesionseg.runs.orphan import at_work, watch_parent

def stopped(number, frame):
    raise SystemExit(128 + number)

signal.signal(signal.SIGTERM, {handler})
watch_parent(poll=0.05, grace={grace})
{body}
"""
JOB = """
try:
    with at_work():
        print("at work", flush=True)
        time.sleep(60)
except SystemExit:
    pass  # as loky does
open({trace!r}, "w").close()
time.sleep(60)
"""
CLEANING_JOB = """
with at_work():
    print("at work", flush=True)
    try:
        time.sleep(60)
    except SystemExit:
        open({trace!r}, "w").close()
        raise
"""


Family = tuple[subprocess.Popen[str], int]  # the parent, and the worker's number


@pytest.fixture
def started() -> Iterator[Callable[..., Family]]:
    """Starts a parent with one worker, and waits until that is at work."""
    with ExitStack() as stack:

        def start(body: str, *, handler: str = "stopped", grace: float = 30, then: str = "worker.wait()") -> Family:
            worker = WORKER.format(handler=handler, grace=grace, body=body)
            command = [sys.executable, "-c", PARENT.format(then=then), worker]
            parent = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(parent.kill)
            assert parent.stdout is not None
            number = int(parent.stdout.readline())
            assert parent.stdout.readline()
            return parent, number

        yield start


def ends(number: int, seconds: float = 10) -> bool:
    """Whether a process ends in time; it is killed if it does not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    os.kill(number, signal.SIGKILL)
    return False


def test_an_idle_worker_ends_with_its_killed_parent(started: Callable[..., Family]) -> None:
    parent, worker = started('print("idle", flush=True)\ntime.sleep(60)')
    parent.kill()
    assert ends(worker)


def test_a_job_in_progress_is_stopped_and_can_clean_up(started: Callable[..., Family], tmp_path: Path) -> None:
    trace = tmp_path / "cleaned"
    parent, worker = started(CLEANING_JOB.format(trace=str(trace)))
    parent.kill()
    assert ends(worker)
    assert trace.exists()


def test_a_stopped_job_is_the_last_one_even_if_its_caller_goes_on(
    started: Callable[..., Family], tmp_path: Path
) -> None:
    trace = tmp_path / "went on"
    parent, worker = started(JOB.format(trace=str(trace)))
    parent.kill()
    assert ends(worker)
    assert not trace.exists()


def test_a_job_that_does_not_heed_is_killed(started: Callable[..., Family], tmp_path: Path) -> None:
    parent, worker = started(JOB.format(trace=str(tmp_path / "x")), handler="signal.SIG_IGN", grace=0.2)
    parent.kill()
    assert ends(worker)


def test_ctrl_c_is_left_to_the_parent(started: Callable[..., Family], tmp_path: Path) -> None:
    parent, worker = started(JOB.format(trace=str(tmp_path / "x")))
    os.kill(worker, signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        parent.wait(0.3)  # it waits for its worker
    parent.kill()
    assert ends(worker)


FORKING = """
import ctypes, os
child = os.fork()
if child == 0:
    ctypes.CDLL(None).prctl(1, signal.SIGINT)  # as in torch's: interrupt me when my parent dies
    os.kill(os.getpid(), signal.SIGINT)
    open({numbers!r}, "w").write(str(os.getpid()))
    time.sleep(60)
while not (os.path.exists({numbers!r}) and os.path.getsize({numbers!r})):
    time.sleep(0.02)
print("forked", flush=True)
time.sleep(60)
"""


def test_what_a_worker_has_forked_heeds_an_interrupt_only_when_the_worker_is_gone(
    started: Callable[..., Family], tmp_path: Path
) -> None:
    numbers = tmp_path / "child"
    parent, worker = started(FORKING.format(numbers=str(numbers)))
    child = int(numbers.read_text())
    parent.kill()
    assert ends(worker)
    assert ends(child)


STOPPING = """
import os, signal
from lesionseg.runs.orphan import workers_end_first
def stopped(number, frame):
    raise SystemExit(128 + number)
signal.signal(signal.SIGTERM, stopped)
try:
    with workers_end_first(grace={grace}):
        print("ready", flush=True)
        worker.wait()
        while True:
            signal.pause()
finally:
    print("after" if os.path.exists({trace!r}) else "before", flush=True)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
def test_a_stopped_parent_stops_its_workers_first(
    number: signal.Signals, code: int, started: Callable[..., Family], tmp_path: Path
) -> None:
    trace = tmp_path / "cleaned"
    parent, worker = started(CLEANING_JOB.format(trace=str(trace)), then=STOPPING.format(grace=30, trace=str(trace)))
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    parent.send_signal(number)
    assert parent.stdout.readline() == "after\n", "the worker had cleaned up before its parent was interrupted"
    assert parent.wait(10) == code
    assert trace.exists()
    assert ends(worker)


def test_a_parent_does_not_wait_for_ever(started: Callable[..., Family], tmp_path: Path) -> None:
    parent, worker = started(
        JOB.format(trace=str(tmp_path / "x")),
        handler="signal.SIG_IGN",
        grace=0.1,
        then=STOPPING.format(grace=0.2, trace="x"),
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    parent.send_signal(signal.SIGTERM)
    assert parent.stdout.readline() == "before\n"
    assert parent.wait(10) == 143
    assert ends(worker), "now it is an orphan"


def test_the_handlers_of_before_are_back_after_the_block() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with workers_end_first():
        assert signal.getsignal(signal.SIGTERM) is not before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_job_in_a_process_that_watches_nobody_is_left_alone() -> None:
    with pytest.raises(SystemExit, match="3"), at_work():
        raise SystemExit(3)

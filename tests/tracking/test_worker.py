"""Who is alive, who is gone for certain, and of whom nothing is known."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from lesionseg.tracking import Worker, this_worker


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until its input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    yield process
    process.communicate()


def _worker(process: subprocess.Popen[bytes]) -> Worker:
    started = psutil.Process(process.pid).create_time() - psutil.boot_time()
    return replace(this_worker(), process=process.pid, started=started)


def test_this_process_is_not_gone() -> None:
    me = this_worker()
    assert (me.host, me.process) == (socket.gethostname(), os.getpid())
    assert not me.is_gone()
    assert this_worker() == me, "asked again, it is the same"


def test_a_process_is_gone_once_it_has_ended_whether_or_not_anybody_asked_how(other: subprocess.Popen[bytes]) -> None:
    worker = _worker(other)
    assert not worker.is_gone()
    assert other.stdin is not None
    other.stdin.close()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert psutil.Process(other.pid).status() == psutil.STATUS_ZOMBIE
    assert worker.is_gone()
    other.wait()
    assert worker.is_gone()


def test_a_number_that_was_given_again_is_another_process() -> None:
    me = this_worker()
    assert replace(me, started=me.started - 60).is_gone()
    assert not replace(me, started=me.started - 0.5).is_gone(), "the start is read with some error"


def test_whoever_sets_the_clock_kills_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    me, boot = this_worker(), psutil.boot_time()
    for hours in (-1, 0.001, 1):
        monkeypatch.setattr(psutil._psplatform, "boot_time", lambda hours=hours: boot + int(3600 * hours))
        assert not me.is_gone()
        assert this_worker() == me


def test_of_another_machine_nobody_is_gone_for_certain(other: subprocess.Popen[bytes]) -> None:
    elsewhere = replace(_worker(other), machine="another")
    other.communicate()
    assert not elsewhere.is_gone()
    assert not replace(elsewhere, host=socket.gethostname(), started=0.0).is_gone(), "a container has the host's name"


def test_a_worker_comes_back_from_json_among_other_things() -> None:
    worker = this_worker()
    text = json.dumps({**worker.to_json(), "heard": 3.0})
    assert Worker.from_json(json.loads(text)) == worker


def test_people_read_number_and_host() -> None:
    assert str(Worker("gpu07", "boot", 4711, 0.0)) == "process 4711 on gpu07"

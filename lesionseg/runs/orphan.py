"""Workers of a launching process: none outlives it, and a job in progress is stopped before it is killed.

A launcher that is killed cannot stop its workers, and they would go on with whatever they have been handed. The signal
that Linux can send when a parent dies is bound to the thread that started the child, and so comes too early where that
thread ends; therefore a thread of the worker looks at its parent's number every second. A launcher that is stopped
kills its workers at once (loky's way), and their runs could not even say so; therefore they are stopped first.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import psutil

STOPPED = 128 + signal.SIGTERM

_working = threading.Lock()  # held while a job is in progress
_orphaned = threading.Event()
_watch: threading.Thread | None = None


def watch_parent(*, poll: float = 1.0, grace: float = 30.0) -> None:
    """From now on, end this process when its parent is gone; with a job in progress (:func:`at_work`) in two steps.

    The job gets SIGTERM, as if the user had stopped it, and ``grace`` seconds to end; then SIGKILL. Ctrl-C, which the
    terminal sends to every process, is left to the parent. A second call does nothing.

    Args:
        poll: seconds between two looks.
        grace: seconds that the job in progress has to end.
    """
    global _watch
    if _watch is None:
        arguments = (os.getppid(), poll, grace)
        _watch = threading.Thread(target=_wait_for_the_end, args=arguments, name="lesionseg parent", daemon=True)
        _watch.start()
        _leave_ctrl_c_to_parent()


@contextmanager
def at_work() -> Iterator[None]:
    """A job of this process. A worker ends with a job that was stopped, and begins none when its parent is gone."""
    if _orphaned.is_set():
        _leave()
    with _working:
        try:
            yield
        except (SystemExit, KeyboardInterrupt):
            if _watch is not None:  # loky would only hand the exception over, and go on with the next job
                _leave()
            raise
        finally:
            if _orphaned.is_set():
                _leave()


@contextmanager
def workers_end_first(*, grace: float = 30.0) -> Iterator[None]:
    """While the block lasts, SIGTERM and Ctrl-C stop the workers of this process and wait for them, before they do what
    they did.

    Args:
        grace: seconds that the workers have to end their jobs.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def stop(number: int, frame: FrameType | None) -> None:
        for restored, handler in before.items():
            signal.signal(restored, handler)  # a second signal does not wait
        _end_workers(grace)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        else:
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
        _dismiss_workers()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _dismiss_workers() -> None:
    """Loky keeps its workers for more to do, and asks them to leave only when this process ends; once that hung."""
    from joblib.externals.loky import reusable_executor

    if reusable_executor._executor is not None:
        reusable_executor._executor.shutdown(wait=True, kill_workers=True)


def _end_workers(grace: float) -> None:
    workers = [child for child in psutil.Process().children() if _is_worker(child)]
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.terminate()
    end = time.monotonic() + grace
    while any(_is_alive(worker) for worker in workers) and time.monotonic() < end:
        time.sleep(0.05)


def _is_alive(process: psutil.Process) -> bool:
    """Without taking its exit code from whoever started it, as psutil's own waiting would."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _is_worker(process: psutil.Process) -> bool:
    try:
        return any("popen_loky" in argument for argument in process.cmdline())
    except psutil.Error:  # it has just ended
        return False


def _leave_ctrl_c_to_parent() -> None:
    """For this process and those that it forks, as long as it is there: torch's have themselves interrupted when it is
    not. Ignored altogether, the signal would stay ignored in every process that is started from here."""
    worker = os.getpid()

    def heed_if_orphaned(number: int, frame: FrameType | None) -> None:
        if worker not in (os.getpid(), os.getppid()):
            signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, heed_if_orphaned)


def _wait_for_the_end(parent: int, poll: float, grace: float) -> None:
    while os.getppid() == parent:
        time.sleep(poll)
    _orphaned.set()
    if _working.acquire(blocking=False):
        _leave()
    os.kill(os.getpid(), signal.SIGTERM)
    _working.acquire(timeout=grace)  # the job leaves by itself, unless it hangs
    os.kill(os.getpid(), signal.SIGKILL)


def _leave() -> None:
    """End without waiting for anybody: the queues to the parent lead nowhere."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the terminal may be gone, too
            stream.flush()
    os._exit(STOPPED)

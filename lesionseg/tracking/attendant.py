"""Works beside a run: gives signs of life, and brings to MLflow what the run logs; neither waits for the other."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

from lesionseg.tracking.claim import Claim
from lesionseg.tracking.courier import Courier
from lesionseg.tracking.heartbeat import Heartbeat
from lesionseg.tracking.journal import Status

_TICK = 1.0  # seconds between two deliveries


class Attendant:
    """Two threads beside the run, while the ``with`` block lasts.

    Args:
        claim: to be kept alive.
        courier: to be sent.
        every: seconds between two heartbeats.
        expires: seconds without one after which the claim is lost.
    """

    def __init__(self, claim: Claim, courier: Courier, *, every: float, expires: float) -> None:
        self._claim = claim
        self._courier = courier
        self._every = every
        self._expires = expires
        self._voice = _Voice(claim)
        self._began = time.monotonic()
        self._told = -every
        self._lost: BaseException | None = None
        self._beating = _Again(self._beat, every, self._lose)
        self._delivering = _Again(self._deliver, _TICK, self._lose)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Voice, (self._claim,)  # all that a process needs which trains on a further device: `tell`

    def __enter__(self) -> "Attendant":
        self._beating.start()
        self._delivering.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._delivering.stop()
        self._beating.stop()

    def end(self, status: Status, seconds: float) -> bool:
        """Note how the run ended and have it delivered, giving signs of life meanwhile, for so many seconds at most.

        Returns:
            Whether everything was delivered.

        Raises:
            ClaimLostError: the run is another process's now, and its end is, too.
        """
        self._delivering.stop()
        if self._lost is not None:
            raise self._lost
        return self._courier.end(status, seconds)

    def tell(self, phase: str, *, step: int | None = None, seconds_left: float | None = None) -> None:
        """Take word of how far the run is; a new phase is told at once.

        Raises:
            ClaimLostError: another process works on the run now: stop.
        """
        if self._lost is not None:
            raise self._lost
        self._voice.tell(phase, step=step, seconds_left=seconds_left)

    def heartbeat(self) -> Heartbeat:
        """What would be told now."""
        seconds = round(time.monotonic() - self._began, 1)
        return Heartbeat(self._claim.worker, time.time(), self._expires, {**self._voice.progress, "seconds": seconds})

    def _lose(self, error: BaseException) -> None:
        self._lost = error

    def _beat(self) -> None:
        try:
            self._claim.beat(self._voice.progress)
        except OSError:  # a full disk: a beat is missed, and the run itself will meet the same disk
            return

    def _deliver(self) -> None:
        if self._lost is not None:  # the journal may be another's now
            return
        self._courier.deliver()
        if time.monotonic() - self._told >= self._every:
            self._told = time.monotonic()
            self._courier.heartbeat(self.heartbeat().to_text())


class _Voice:
    """Says how far a run is: a new phase at once, a step when it is asked.

    Args:
        claim: takes the word.
    """

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self.progress: dict[str, Any] = {"phase": "preparing"}

    def tell(self, phase: str, *, step: int | None = None, seconds_left: float | None = None) -> None:
        """As `Attendant.tell`."""
        changed = phase != self.progress["phase"]
        known = {"step": step, "seconds_left": seconds_left}
        told = {key: value for key, value in known.items() if value is not None}
        self.progress = {**self.progress, "phase": phase, **told}
        if changed:
            self._claim.beat(self.progress)


class _Again:
    """A thread that does something now, and again every so many seconds.

    Args:
        work: what; an error ends the thread.
        seconds: in between.
        fail: is given the error, since nobody listens to the thread.
    """

    def __init__(self, work: Callable[[], None], seconds: float, fail: Callable[[BaseException], None]) -> None:
        self._work = work
        self._seconds = seconds
        self._fail = fail
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"lesionseg {work.__name__}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, once what is being done is done."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            pause = self._seconds
            try:
                self._work()
            except BaseException as error:
                self._fail(error)
                return

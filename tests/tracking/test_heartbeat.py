"""Signs of life in MLflow: fresh, stale, or of a process that is gone."""

import json
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from lesionseg.tracking import Heartbeat, Worker, heartbeat_of, is_worked_on, this_worker
from lesionseg.tracking import heartbeat as heartbeat_module
from lesionseg.tracking.tags import HEARTBEAT_TAG

ELSEWHERE = Worker("far", "far", 1, 0.0)
BEAT = Heartbeat(ELSEWHERE, 1000.0, 10.0, {"phase": "training", "step": 3})


def _run(beat: Heartbeat | None, status: str = "RUNNING") -> Any:
    tags = {} if beat is None else {HEARTBEAT_TAG: beat.to_text()}
    return SimpleNamespace(info=SimpleNamespace(status=status), data=SimpleNamespace(tags=tags))


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the clock."""
    return lambda now: monkeypatch.setattr(heartbeat_module, "time", SimpleNamespace(time=lambda: now))


def test_a_heartbeat_comes_back_from_the_tag() -> None:
    assert heartbeat_of(_run(BEAT)) == BEAT
    assert heartbeat_of(_run(None)) is None
    assert json.loads(BEAT.to_text())["process"] == 1, "a tool of another kind can read it, too"


@pytest.mark.parametrize(("now", "fresh"), [(1000, True), (1010, True), (1011, False), (990, True), (989, False)])
def test_it_is_fresh_for_as_long_as_it_says_whichever_clock_is_ahead(at: Any, now: float, fresh: bool) -> None:
    at(now)
    assert BEAT.is_fresh() is fresh


def test_of_a_process_that_is_gone_it_is_stale_at_once() -> None:
    alive = Heartbeat(this_worker(), time.time(), 60.0, {})
    assert alive.is_fresh()
    assert not replace(alive, worker=replace(this_worker(), started=0.0)).is_fresh()


@pytest.mark.parametrize(
    ("status", "beat", "worked_on"),
    [
        ("RUNNING", BEAT, True),
        ("RUNNING", replace(BEAT, heard=900.0), False),
        ("RUNNING", None, False),
        ("FINISHED", BEAT, False),
        ("KILLED", BEAT, False),
        ("FAILED", BEAT, False),
    ],
)
def test_somebody_works_on_what_is_running_and_was_heard_of(at: Any, status: str, beat: Any, worked_on: bool) -> None:
    at(1001.0)
    assert is_worked_on(_run(beat, status)) is worked_on

"""One run, one worker: who holds it, who loses it, and that nobody else ever believes to hold it."""

import json
import multiprocessing
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lesionseg.tracking import (
    Claim,
    ClaimLostError,
    Holder,
    Worker,
    filesystem_time,
    is_held,
    read_claim,
    take_claim,
    this_worker,
)

EXPIRES = 10.0
ANNA, BERT = Worker("anna", "anna", 1, 0.0), Worker("bert", "bert", 2, 0.0)


class Clock:
    """Goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self, folder: Path) -> float:
        assert folder.is_dir()
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _take(folder: Path, worker: Worker, clock: Clock) -> Claim:
    claim = take_claim(folder, expires=EXPIRES, worker=worker, clock=clock)
    assert isinstance(claim, Claim)
    return claim


def _refused(folder: Path, worker: Worker, clock: Clock) -> Holder:
    holder = take_claim(folder, expires=EXPIRES, worker=worker, clock=clock)
    assert isinstance(holder, Holder)
    return holder


def test_a_claim_is_taken_in_a_folder_that_is_made_for_it(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "runs" / "run"
    claim = _take(folder, ANNA, clock)
    assert (claim.folder, claim.worker) == (folder, ANNA)
    assert read_claim(folder) == Holder(ANNA, 1000.0, EXPIRES, {})
    assert json.loads((folder / "claim.json").read_text()) == {
        **ANNA.to_json(),
        "heard": 1000.0,
        "expires": EXPIRES,
        "progress": {},
    }


def test_by_default_it_is_this_process_by_the_clock_of_the_file_system(tmp_path: Path) -> None:
    claim = take_claim(tmp_path, expires=EXPIRES)
    assert isinstance(claim, Claim)
    holder = read_claim(tmp_path)
    assert holder is not None
    assert holder.worker == this_worker()
    assert abs(holder.heard - time.time()) < 60
    assert filesystem_time(tmp_path) >= holder.heard
    assert {path.name for path in tmp_path.iterdir()} <= {"claim.json", ".claim.lock"}, "the clock leaves no file"


def test_whoever_comes_second_learns_who_holds_it_and_how_far_it_is(tmp_path: Path, clock: Clock) -> None:
    claim = _take(tmp_path, ANNA, clock)
    clock.now += 3
    claim.beat({"phase": "training", "step": 7})
    clock.now += EXPIRES
    assert _refused(tmp_path, BERT, clock) == Holder(ANNA, 1003.0, EXPIRES, {"phase": "training", "step": 7})
    assert read_claim(tmp_path) == Holder(ANNA, 1003.0, EXPIRES, {"phase": "training", "step": 7}), (
        "asking changes nothing"
    )


def test_the_same_process_may_take_its_claim_again(tmp_path: Path, clock: Clock) -> None:
    _take(tmp_path, ANNA, clock)
    _take(tmp_path, ANNA, clock).beat({})


def test_what_is_released_is_free(tmp_path: Path, clock: Clock) -> None:
    _take(tmp_path, ANNA, clock).release()
    assert read_claim(tmp_path) is None
    _take(tmp_path, BERT, clock)


def test_a_claim_expires_after_longer_than_agreed_without_a_beat(tmp_path: Path, clock: Clock) -> None:
    _take(tmp_path, ANNA, clock)
    clock.now += EXPIRES
    _refused(tmp_path, BERT, clock)
    clock.now += 0.1
    _take(tmp_path, BERT, clock)
    assert read_claim(tmp_path) == Holder(BERT, clock.now, EXPIRES, {})


def test_a_beat_makes_it_last(tmp_path: Path, clock: Clock) -> None:
    claim = _take(tmp_path, ANNA, clock)
    for _ in range(5):
        clock.now += EXPIRES
        claim.beat({})
    _refused(tmp_path, BERT, clock)


def test_the_dead_hold_nothing_from_the_moment_that_it_is_known(tmp_path: Path, clock: Clock) -> None:
    gone = replace(this_worker(), started=0.0)
    _take(tmp_path, gone, clock)
    _take(tmp_path, BERT, clock)


def test_whoever_was_silent_for_too_long_learns_who_has_taken_over(tmp_path: Path, clock: Clock) -> None:
    late = _take(tmp_path, ANNA, clock)
    clock.now += EXPIRES + 1
    _take(tmp_path, BERT, clock)
    with pytest.raises(ClaimLostError) as caught:
        late.beat({"step": 1})
    assert str(caught.value) == f"{tmp_path}: the claim of process 1 on anna is process 2 on bert's now"
    late.release()
    assert read_claim(tmp_path) == Holder(BERT, clock.now, EXPIRES, {}), "what is another's is left alone"


def test_whoever_was_late_goes_on_if_nobody_wanted_the_run(tmp_path: Path, clock: Clock) -> None:
    late = _take(tmp_path, ANNA, clock)
    clock.now += 100 * EXPIRES
    late.beat({})
    _refused(tmp_path, BERT, clock)


def test_after_a_release_there_is_nothing_to_beat(tmp_path: Path, clock: Clock) -> None:
    claim = _take(tmp_path, ANNA, clock)
    claim.release()
    claim.release()
    with pytest.raises(ClaimLostError) as caught:
        claim.beat({})
    assert str(caught.value) == f"{tmp_path}: the claim of process 1 on anna was released"
    assert read_claim(tmp_path) is None


def test_a_claim_expires_as_its_holder_has_it_whatever_others_would_say(tmp_path: Path, clock: Clock) -> None:
    take_claim(tmp_path, expires=100, worker=ANNA, clock=clock)
    clock.now += 50
    assert isinstance(take_claim(tmp_path, expires=1, worker=BERT, clock=clock), Holder)
    clock.now += 51
    assert isinstance(take_claim(tmp_path, expires=1, worker=BERT, clock=clock), Claim)


@pytest.mark.parametrize("left", ["", "{", '{"host": "an'])
def test_a_claim_of_which_a_power_failure_left_a_part_is_nobodys(tmp_path: Path, clock: Clock, left: str) -> None:
    (tmp_path / "claim.json").write_text(left)
    assert read_claim(tmp_path) is None
    assert isinstance(take_claim(tmp_path, expires=EXPIRES, worker=BERT, clock=clock), Claim)


@pytest.mark.parametrize(
    ("worker", "silent", "held"),
    [(ANNA, 0.0, True), (ANNA, EXPIRES, True), (ANNA, EXPIRES + 0.1, False), (ANNA, -5.0, True), ("gone", 0.0, False)],
)
def test_a_holder_is_left_alone_while_it_is_heard_of_and_not_gone(worker: Any, silent: float, held: bool) -> None:
    holder = Holder(replace(this_worker(), started=0.0) if worker == "gone" else worker, 1000.0, EXPIRES, {})
    assert is_held(holder, 1000.0 + silent) is held


def _slow(folder: Path) -> float:
    """The time, told so late that whoever looked before has an old picture of the claim."""
    time.sleep(0.005)
    return filesystem_time(folder)


def _try_to_take(folder: Path, barrier: Any, outcomes: Any) -> None:
    barrier.wait()
    outcomes.put(isinstance(take_claim(folder, expires=60, clock=_slow), Claim))
    barrier.wait()  # whoever holds it is alive until all have tried


def test_of_eight_processes_at_once_exactly_one_gets_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, outcomes = context.Barrier(8), context.Queue()
    processes = [context.Process(target=_try_to_take, args=(tmp_path / "run", barrier, outcomes)) for _ in range(8)]
    for process in processes:
        process.start()
    found = [outcomes.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    assert sorted(found) == [False] * 7 + [True]
    holder = read_claim(tmp_path / "run")
    assert holder is not None
    assert holder.worker.process in {process.pid for process in processes}


NAMES = ("a", "b", "c")


class Sharing(RuleBasedStateMachine):
    """Three computers share a run. On each a process takes it, beats, pauses, gives it up, dies and is started again,
    in any order; of the death of the first two's everybody knows, of the third's nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.workers = {name: Worker(name, name, 0, 0.0) for name in NAMES}
        self.dead: set[Worker] = set()
        self.claims: dict[str, Claim] = {}  # what each believes to hold
        self.signs: dict[str, float] = {}  # when that was last confirmed
        self.patched = patch.object(Worker, "is_gone", lambda worker: self._known_dead(worker))
        self.patched.start()

    def teardown(self) -> None:
        self.patched.stop()
        shutil.rmtree(self.folder)

    def _known_dead(self, worker: Worker) -> bool:
        return worker in self.dead and worker.host != "c"

    def _take(self, name: str) -> Claim | Holder:
        return take_claim(self.folder, expires=EXPIRES, worker=self.workers[name], clock=self.clock)

    def _in_the_file(self) -> Worker | None:
        holder = read_claim(self.folder)
        return holder.worker if holder else None

    @rule(name=st.sampled_from(NAMES))
    def take(self, name: str) -> None:
        found = self._take(name)
        if isinstance(found, Claim):
            self.claims[name], self.signs[name] = found, self.clock.now
            assert self._in_the_file() == self.workers[name]
        else:  # only somebody who may be alive and was heard of is a reason to be refused
            assert found.worker != self.workers[name]
            assert not self._known_dead(found.worker)
            assert self.clock.now - found.heard <= EXPIRES

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), step=st.integers(0, 9))
    def beat(self, data: st.DataObject, step: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.claims)))
        try:
            self.claims[name].beat({"step": step})
        except ClaimLostError:
            assert self.clock.now - self.signs[name] > EXPIRES, "whoever beats in time never loses it"
            assert self._in_the_file() != self.workers[name]
            del self.claims[name]
        else:
            self.signs[name] = self.clock.now
            assert read_claim(self.folder) == Holder(self.workers[name], self.clock.now, EXPIRES, {"step": step})

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.claims)))
        before = self._in_the_file()
        self.claims.pop(name).release()
        assert self._in_the_file() == (None if before == self.workers[name] else before)

    @rule(seconds=st.sampled_from([0.5, EXPIRES / 2, EXPIRES, EXPIRES + 0.5]))
    def pause(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(name=st.sampled_from(NAMES))
    def die_and_start_again(self, name: str) -> None:
        self.dead.add(self.workers[name])
        self.claims.pop(name, None)
        self.workers[name] = replace(self.workers[name], process=self.workers[name].process + 1)

    @rule(name=st.sampled_from(NAMES))
    def everybody_falls_silent(self, name: str) -> None:
        self.clock.now += EXPIRES + 1
        found = self._take(name)
        assert isinstance(found, Claim), "a run does not wait for ever"
        self.claims[name], self.signs[name] = found, self.clock.now

    @invariant()
    def at_most_one_was_confirmed_lately(self) -> None:
        lately = [name for name in self.claims if self.clock.now - self.signs[name] <= EXPIRES]
        assert len(lately) <= 1
        assert all(self._in_the_file() == self.workers[name] for name in lately)


Sharing.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestSharing = Sharing.TestCase

"""The threads beside a run: what it tells, and how the run learns that it has to stop."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lesionseg.tracking import Attendant, Claim, ClaimLostError, Holder, Worker, read_claim, take_claim, this_worker
from lesionseg.tracking import attendant as attendant_module

BERT = Worker("bert", "bert", 2, 0.0)


class Post:
    """A courier that notes what it is asked to do, and may break."""

    def __init__(self) -> None:
        self.deliveries = 0
        self.beats: list[str] = []
        self.ended: list[str] = []
        self.fault: BaseException | None = None
        self.broken = threading.Event()
        self.goes = threading.Event()
        self.goes.set()

    def deliver(self) -> bool:
        self.goes.wait(20)
        self.deliveries += 1
        if self.fault is not None:
            self.broken.set()
            raise self.fault
        return True

    def heartbeat(self, text: str) -> None:
        self.beats.append(text)

    def end(self, status: str, seconds: float) -> bool:
        self.goes.wait(20)
        self.ended.append(status)
        return seconds > 0


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture
def claim(tmp_path: Path) -> Claim:
    taken = take_claim(tmp_path, expires=60)
    assert isinstance(taken, Claim)
    return taken


@pytest.fixture(autouse=True)
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred deliveries a second."""
    monkeypatch.setattr(attendant_module, "_TICK", 0.01)


def _attendant(claim: Claim, post: Post, every: float = 1000.0) -> Attendant:
    return Attendant(claim, post, every=every, expires=3 * every)  # type: ignore[arg-type]


def _holder(folder: Path) -> Holder:
    holder = read_claim(folder)
    assert holder is not None
    return holder


def _until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.002)


def _threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("lesionseg ")}


def _take_over(folder: Path) -> None:
    taken = take_claim(folder, expires=60, worker=BERT, clock=lambda _: time.time() + 1000)
    assert isinstance(taken, Claim)


def test_the_first_beat_and_delivery_are_at_once_and_the_run_is_being_prepared(
    claim: Claim, post: Post, tmp_path: Path
) -> None:
    with _attendant(claim, post):
        _until(lambda: post.beats != [] and _holder(tmp_path).progress != {})
    assert _holder(tmp_path).progress == {"phase": "preparing"}
    assert post.deliveries >= 1
    assert len(post.beats) == 1, "the next one is due in 1000 seconds"


def test_a_new_phase_stands_in_the_claim_at_once_and_a_step_at_the_next_beat(
    claim: Claim, post: Post, tmp_path: Path
) -> None:
    with _attendant(claim, post) as attendant:
        _until(lambda: _holder(tmp_path).progress != {})
        attendant.tell("training", step=3, seconds_left=12.5)
        assert _holder(tmp_path).progress == {"phase": "training", "step": 3, "seconds_left": 12.5}
        attendant.tell("training", step=4)
        assert _holder(tmp_path).progress["step"] == 3
        attendant.tell("validating")
        assert _holder(tmp_path).progress == {"phase": "validating", "step": 4, "seconds_left": 12.5}


def test_beats_go_on_and_take_the_latest_word_along(claim: Claim, post: Post, tmp_path: Path) -> None:
    with _attendant(claim, post, every=0.01) as attendant:
        attendant.tell("training", step=1)
        attendant.tell("training", step=2)
        _until(lambda: _holder(tmp_path).progress.get("step") == 2)
        first = len(post.beats)
        _until(lambda: len(post.beats) > first + 1)
        assert post.deliveries > 2


def test_mlflow_is_told_who_works_for_how_long_and_how_far(claim: Claim, post: Post) -> None:
    attendant = _attendant(claim, post, every=10.0)
    before = time.time()
    attendant.tell("training", step=3, seconds_left=5.0)
    beat = attendant.heartbeat()
    assert (beat.worker, beat.expires) == (this_worker(), 30.0)
    assert before <= beat.heard <= time.time()
    assert beat.progress["seconds"] >= 0
    assert {**beat.progress, "seconds": 0} == {"phase": "training", "step": 3, "seconds_left": 5.0, "seconds": 0}
    assert beat.is_fresh()


def _during(attendant: Attendant, *work: Callable[[], Any]) -> None:
    """What the run does meanwhile, one after the other."""
    with attendant:
        for one in work:
            one()


def _until_it_is_lost(attendant: Attendant) -> None:
    """Go on in the same phase, until that raises something."""

    def tell() -> bool:
        attendant.tell("preparing", step=1)
        return False

    _until(tell)


def test_whoever_lost_the_run_learns_so_when_a_phase_is_told(claim: Claim, post: Post, tmp_path: Path) -> None:
    attendant = _attendant(claim, post)

    def begun() -> bool:
        return _holder(tmp_path).progress != {}

    with pytest.raises(ClaimLostError, match="is process 2 on bert's now"):
        _during(
            attendant,
            lambda: _until(begun),
            lambda: _take_over(tmp_path),
            lambda: attendant.tell("training", step=1),
        )
    assert _holder(tmp_path).worker == BERT
    assert _holder(tmp_path).progress == {}, "the new holder's word stands"


def test_whoever_lost_the_run_learns_so_after_the_next_beat_in_the_middle_of_a_phase(
    claim: Claim, post: Post, tmp_path: Path
) -> None:
    attendant = _attendant(claim, post, every=0.01)
    with pytest.raises(ClaimLostError, match="is process 2 on bert's now"):
        _during(attendant, lambda: _take_over(tmp_path), lambda: _until_it_is_lost(attendant))


def test_whoever_lost_the_run_learns_so_at_its_end_at_the_latest(claim: Claim, post: Post, tmp_path: Path) -> None:
    def beats_no_more() -> bool:
        return "lesionseg _beat" not in _threads()

    attendant = _attendant(claim, post, every=0.01)
    with pytest.raises(ClaimLostError):
        _during(
            attendant,
            lambda: _take_over(tmp_path),
            lambda: _until(beats_no_more),
            lambda: attendant.end("FINISHED", 0),
        )
    assert post.ended == []


def test_whoever_lost_the_run_delivers_nothing_more(claim: Claim, post: Post, tmp_path: Path) -> None:
    attendant = _attendant(claim, post, every=0.01)
    attendant.__enter__()
    _take_over(tmp_path)
    with pytest.raises(ClaimLostError):
        _until_it_is_lost(attendant)
    before = post.deliveries
    time.sleep(0.05)
    assert post.deliveries <= before + 1, "one was on its way"
    with pytest.raises(ClaimLostError):
        attendant.end("KILLED", 0)
    attendant.__exit__(None, None, None)
    assert post.ended == []


def test_a_delivery_that_takes_long_keeps_no_beat_waiting(claim: Claim, post: Post, tmp_path: Path) -> None:
    post.goes.clear()
    with _attendant(claim, post, every=0.01) as attendant:
        attendant.tell("preparing", step=1)
        _until(lambda: _holder(tmp_path).progress.get("step") == 1)
        heard = _holder(tmp_path).heard
        _until(lambda: _holder(tmp_path).heard > heard)
        assert post.deliveries == 0
        post.goes.set()


@pytest.mark.parametrize("where", ["told", "at the end"])
def test_what_breaks_in_a_thread_is_raised_in_the_runs_own(claim: Claim, post: Post, where: str) -> None:
    post.fault = ValueError("the journal is no journal")
    attendant = _attendant(claim, post)
    told = (lambda: _until_it_is_lost(attendant)) if where == "told" else (lambda: attendant.end("FINISHED", 0))
    with pytest.raises(ValueError, match="the journal is no journal") as caught:
        _during(attendant, lambda: post.broken.wait(20), told)
    assert caught.value is post.fault


def test_the_runs_own_failure_is_not_covered_up_by_a_threads(claim: Claim, post: Post) -> None:
    post.fault = ValueError("of a thread")
    with pytest.raises(ZeroDivisionError):
        _during(_attendant(claim, post), lambda: post.broken.wait(20), lambda: 1 / 0)


def test_the_threads_end_with_the_block(claim: Claim, post: Post) -> None:
    with _attendant(claim, post):
        assert _threads() == {"lesionseg _beat", "lesionseg _deliver"}
    assert _threads() == set()


def test_a_beat_that_a_full_disk_does_not_take_is_a_beat_missed(
    claim: Claim, post: Post, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = threading.Event()

    def full(progress: Any) -> None:
        tried.set()
        raise OSError(28, "No space left on device")

    with _attendant(claim, post, every=0.01) as attendant:
        with monkeypatch.context() as patched:
            patched.setattr(claim, "beat", full)
            assert tried.wait(20)
        attendant.tell("preparing", step=7)
        _until(lambda: _holder(tmp_path).progress.get("step") == 7)


def test_the_end_is_delivered_with_signs_of_life(claim: Claim, post: Post, tmp_path: Path) -> None:
    with _attendant(claim, post, every=0.01) as attendant:
        post.goes.clear()
        ending = threading.Thread(target=lambda: attendant.end("FINISHED", 1))
        ending.start()
        heard = _holder(tmp_path).heard
        _until(lambda: _holder(tmp_path).heard > heard)
        post.goes.set()
        ending.join()
        assert post.ended == ["FINISHED"]
        assert attendant.end("FINISHED", 0) is False, "whether all arrived is passed on"

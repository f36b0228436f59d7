"""How far a sweep is: the table, the words, and the time that is left."""

import time
from pathlib import Path
from typing import Any

import pytest

from lesionseg.config.compose import Request, compose_jobs
from lesionseg.config.schema import StatusConfig
from lesionseg.errors import InputError
from lesionseg.runs.plan import store_of
from lesionseg.runs.status import in_words, remaining_seconds, state_table, status
from lesionseg.tracking import (
    HEARTBEAT_TAG,
    KEY_TAG,
    KIND_TAG,
    SECONDS_TAG,
    SWEEP_TAG,
    Heartbeat,
    RunState,
    Worker,
    add_to_grid,
    start_run,
    sweep_parent,
)

ANNA = Worker("anna", "anna", 41, 0.0)


def _state(state: Any, name: str = "scratch-n2-r0", also: str = "", **changed: Any) -> RunState:
    return RunState({"key": name, "name": name, "also": also}, state, **changed)


MIXED = [
    _state("finished", worker=ANNA, seconds=100.0, progress={"phase": "logging", "step": 40}),
    _state("finished", "scratch-n5-r0", seconds=300.0),
    _state("finished", "scratch-n5-r1"),
    _state(
        "running",
        "encoder_only-n2-r0",
        "seed=7",
        worker=ANNA,
        progress={"phase": "training", "step": 30, "seconds": 50.0, "seconds_left": 3661.2},
    ),
    _state("running", "encoder_only-n5-r0", worker=ANNA, progress={"phase": "preparing", "seconds": 20.0}),
    _state("waiting", "pretrained-n2-r0"),
    _state("killed", "pretrained-n5-r0", worker=ANNA, progress={"phase": "training", "step": 12, "seconds_left": 9.0}),
    _state("failed", "pretrained-n5-r1", worker=ANNA, error="ValueError: no lesion"),
]


def test_the_table_has_a_line_for_each_configuration() -> None:
    assert state_table(MIXED).splitlines() == [
        "run                        state     where               step               left     error",
        "-------------------------  --------  ------------------  -----------------  -------  ---------------------",
        "scratch-n2-r0              finished",
        "scratch-n5-r0              finished",
        "scratch-n5-r1              finished",
        "encoder_only-n2-r0 seed=7  running   process 41 on anna  training, step 30  1:01:01",
        "encoder_only-n5-r0         running   process 41 on anna  preparing",
        "pretrained-n2-r0           waiting",
        "pretrained-n5-r0           cut off   process 41 on anna  training, step 12",
        "pretrained-n5-r1           failed                                                    ValueError: no lesion",
    ]


def test_columns_of_which_nothing_is_known_are_left_out() -> None:
    assert state_table([_state("waiting"), _state("finished", "b")]).splitlines() == [
        "run            state",
        "-------------  --------",
        "scratch-n2-r0  waiting",
        "b              finished",
    ]


def test_a_step_is_no_number_to_be_rounded_and_a_long_error_is_shortened() -> None:
    table = state_table([_state("failed", "1e5", error="ValueError: " + "word " * 50)])
    assert "1e5" in table
    assert table.endswith(" word ...")
    assert max(map(len, table.splitlines())) < 120


def test_the_words_count_every_state_and_say_how_long_it_takes() -> None:
    # two at once: 3661.2 s and 200 - 20 s of those that run, and twice the typical 200 s
    assert in_words(MIXED) == (
        "3 of 8 runs finished (38 %), 2 running, 1 waiting, 1 cut off, 1 failed, about 0:35:21 left"
    )


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ([_state("waiting"), _state("waiting")], "0 of 2 runs finished (0 %), 2 waiting"),
        ([_state("finished", seconds=5.0)], "1 of 1 runs finished (100 %)"),
        ([_state("finished", seconds=5.0), _state("failed")], "1 of 2 runs finished (50 %), 1 failed"),
        (
            [_state("finished", seconds=90000.0), _state("killed")],
            "1 of 2 runs finished (50 %), 1 cut off, about 1 day, 1:00:00 left",
        ),
    ],
)
def test_the_words_say_no_more_than_is_known(states: list[RunState], words: str) -> None:
    assert in_words(states) == words


def _running(**progress: float) -> RunState:
    return _state("running", progress={"phase": "training", **progress})


@pytest.mark.parametrize(
    ("states", "seconds"),
    [
        ([], None),
        ([_state("waiting"), _state("running")], None),
        ([_state("finished", seconds=10.0)], 0.0),
        # the median of 10, 20, 90 for each that waits or was cut off, one after the other
        ([_state("finished", seconds=s) for s in (10.0, 20.0, 90.0)] + [_state("waiting"), _state("killed")], 40.0),
        # one runs: 20 - 5
        ([_state("finished", seconds=20.0), _running(seconds=5.0)], 15.0),
        # it is slower than the others were, and knows so itself
        ([_state("finished", seconds=20.0), _running(seconds=5.0, seconds_left=40.0)], 40.0),
        # it should be done by now
        ([_state("finished", seconds=20.0), _running(seconds=25.0)], 0.0),
        # two at once: (15 + 10 + 2 × 20) / 2
        (
            [
                _state("finished", seconds=20.0),
                _running(seconds=5.0),
                _running(seconds=10.0),
                *[_state("waiting")] * 2,
            ],
            32.5,
        ),
        # nothing is finished yet: the one that runs expects 10 + 30 of itself, and so of the other
        ([_running(seconds=10.0, seconds_left=30.0), _state("waiting")], 70.0),
        # what failed is not done again
        ([_state("finished", seconds=20.0), _state("failed")], 0.0),
    ],
)
def test_the_time_that_is_left_is_counted_by_hand(states: list[RunState], seconds: float | None) -> None:
    assert remaining_seconds(states) == seconds


@pytest.fixture
def config(with_store: Any, tmp_path: Path) -> StatusConfig:
    (job,) = compose_jobs(Request("status", ("sweep=first", f"paths.outputs={with_store(tmp_path)}")))
    assert isinstance(job.config, StatusConfig)
    return job.config


def test_the_command_prints_and_changes_nothing(config: StatusConfig, capsys: pytest.CaptureFixture[str]) -> None:
    store = store_of(config.tracking, config.paths)
    add_to_grid(
        store,
        "first",
        [{"key": "a", "name": "scratch-n2-r0"}, {"key": "b", "name": "scratch-n5-r0"}],
        "lesionseg train",
    )
    parent = sweep_parent(store, "first")
    tags = {SWEEP_TAG: "first", KIND_TAG: "run", SECONDS_TAG: "60.0"}
    start_run(store, "scratch-n2-r0", params={}, tags={**tags, KEY_TAG: "a"}).set_status("FINISHED")
    stale = Heartbeat(ANNA, time.time() - 1000, 60, {"phase": "training", "step": 3}).to_text()
    cut_off = start_run(store, "scratch-n5-r0", params={}, tags={**tags, KEY_TAG: "b", HEARTBEAT_TAG: stale})
    assert status(config) == 0
    assert capsys.readouterr().out == (
        "run            state     where               step\n"
        "-------------  --------  ------------------  ----------------\n"
        "scratch-n2-r0  finished\n"
        "scratch-n5-r0  cut off   process 41 on anna  training, step 3\n"
        "\n"
        "Sweep first: 1 of 2 runs finished (50 %), 1 cut off, about 0:01:00 left.\n"
    )
    assert [store.client.get_run(run).info.status for run in (parent, cut_off.run_id)] == ["RUNNING", "RUNNING"]


def test_a_sweep_that_is_not_there_is_named(config: StatusConfig) -> None:
    with pytest.raises(InputError) as caught:
        status(config)
    assert str(caught.value) == f"sweep=first: there is no sweep of that name in {config.tracking.uri}"


def test_where_nothing_was_run_yet_no_store_is_made(tmp_path: Path) -> None:
    (job,) = compose_jobs(Request("status", ("sweep=first", f"paths.outputs={tmp_path}")))
    assert isinstance(job.config, StatusConfig)
    with pytest.raises(InputError, match="there is no such file, so nothing was run yet"):
        status(job.config)
    assert list(tmp_path.iterdir()) == []

"""How far a sweep is: the table, the summary, and the time that is left."""

import os
from pathlib import Path
from typing import Any

import pytest

from lesionseg.commands.status import remaining_seconds, state_table, status, summary
from lesionseg.config.compose import Request, compose_jobs
from lesionseg.config.schema import StatusConfig
from lesionseg.errors import InputError
from lesionseg.tracking.run_dir import RunDir
from lesionseg.tracking.sweep import RunState, add_to_grid

ANNA = "process 41 on anna"


def _state(state: Any, name: str = "scratch-n2-r0", also: str = "", **changed: Any) -> RunState:
    return RunState({"key": name, "name": name, "also": also}, state, **changed)


def test_the_table_has_a_line_for_each_configuration():
    states = [
        _state("finished"),
        _state(
            "running",
            "lora-n2-r0",
            "seed=7",
            worker=ANNA,
            progress={"phase": "training", "step": 3, "seconds_left": 61.2},
        ),
        _state("interrupted", "lora-n5-r0", worker=ANNA, progress={"phase": "training", "step": 12}),
        _state("failed", "lora-n5-r1", error="ValueError: no lesion"),
    ]
    assert state_table(states).splitlines() == [
        "run                state        where               step               left     error",
        "-----------------  -----------  ------------------  -----------------  -------  ---------------------",
        "scratch-n2-r0      finished",
        "lora-n2-r0 seed=7  running      process 41 on anna  training, step 3   0:01:01",
        "lora-n5-r0         interrupted  process 41 on anna  training, step 12",
        "lora-n5-r1         failed                                                       ValueError: no lesion",
    ]


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ([_state("waiting"), _state("waiting")], "0 of 2 runs finished (0 %), 2 waiting"),
        ([_state("finished", seconds=5.0)], "1 of 1 runs finished (100 %)"),
        ([_state("finished", seconds=5.0), _state("failed")], "1 of 2 runs finished (50 %), 1 failed"),
        (
            [_state("finished", seconds=90000.0), _state("interrupted")],
            "1 of 2 runs finished (50 %), 1 interrupted, about 1 day, 1:00:00 left",
        ),
    ],
)
def test_the_words_say_no_more_than_is_known(states, words):
    assert summary(states) == words


@pytest.mark.parametrize(
    ("states", "seconds"),
    [
        ([], None),
        ([_state("waiting"), _state("running")], None),
        ([_state("finished", seconds=10.0)], 0.0),
        # the median of 10, 20, 90 for each that waits or was interrupted, one after the other
        (
            [_state("finished", seconds=s) for s in (10.0, 20.0, 90.0)] + [_state("waiting"), _state("interrupted")],
            40.0,
        ),
        # one knows of itself, the other takes the typical time, both at once
        (
            [_state("finished", seconds=20.0), _state("running", progress={"seconds_left": 40.0}), _state("running")],
            30.0,
        ),
        # what failed is not done again
        ([_state("finished", seconds=20.0), _state("failed")], 0.0),
    ],
)
def test_the_time_that_is_left_is_counted_by_hand(states, seconds):
    assert remaining_seconds(states) == seconds


def _config(outputs: Path) -> StatusConfig:
    (job,), _ = compose_jobs(Request("status", ("sweep=first", f"paths.outputs={outputs}")))
    assert isinstance(job.config, StatusConfig)
    return job.config


def test_the_command_reads_the_run_directories_and_their_locks(tmp_path, capsys):
    folder = tmp_path / "runs" / "first"
    add_to_grid(None, folder, [{"key": key, "name": key, "init": "scratch"} for key in ("a", "b", "c")], "train")
    for key in ("a", "b"):
        run_dir = RunDir(folder / f"{key}-1234")
        with run_dir.locked():
            run_dir.begin(name=key, sweep="first", params={}, tags={"lesionseg.configuration": key}, dataset={})
            run_dir.note_progress("training", step=3)
            if key == "a":
                run_dir.end("FINISHED")
    with RunDir(folder / "b-1234").locked():
        assert status(_config(tmp_path)) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] for line in lines[2:5]] == [["a", "finished"], ["b", "running"], ["c", "waiting"]]
    assert lines[3][3] == str(os.getpid())


def test_a_sweep_that_is_not_there_is_named(with_store, tmp_path):
    config = _config(with_store(tmp_path))
    with pytest.raises(InputError) as caught:
        status(config)
    assert str(caught.value) == f"sweep=first: there is no sweep of that name in {config.tracking.uri}"


def test_where_nothing_was_run_yet_no_store_is_made(tmp_path):
    (job,), _ = compose_jobs(Request("status", ("sweep=first", f"paths.outputs={tmp_path}")))
    assert isinstance(job.config, StatusConfig)
    with pytest.raises(InputError, match="there is no such file, so nothing was run yet"):
        status(job.config)
    assert list(tmp_path.iterdir()) == []

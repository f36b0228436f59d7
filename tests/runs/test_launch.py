"""A sweep as its launching process sees it, with other processes' runs beside its own."""

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lesionseg.config.schema import TrainConfig
from lesionseg.runs import launch as launch_module
from lesionseg.runs.launch import Launch
from lesionseg.runs.plan import grid_entry, store_of
from lesionseg.tracking import (
    ERROR_TAG,
    HEARTBEAT_TAG,
    KEY_TAG,
    KIND_TAG,
    SWEEP_TAG,
    Heartbeat,
    Run,
    Status,
    Store,
    Worker,
    add_to_grid,
    find_parent,
    open_store,
    read_grid,
    start_run,
    sweep_pages,
    sweep_parent,
    this_worker,
)

ELSEWHERE = Worker("far", "far", 41, 0.0)
_numbers = itertools.count()


@pytest.fixture(scope="module")
def outputs(with_store: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = with_store(tmp_path_factory.mktemp("launch"))
    return folder


@pytest.fixture
def configs(configure: Callable[..., TrainConfig], outputs: Path) -> list[TrainConfig]:
    """Two configurations of a sweep of their own."""
    sweep = f"sweep={next(_numbers)}"
    return [configure(f"paths.outputs={outputs}", f"sweep='{sweep[6:]}'", f"repeat={number}") for number in (0, 1)]


@pytest.fixture
def store(configs: list[TrainConfig]) -> Store:
    return store_of(configs[0].tracking, configs[0].paths)


def _launch(configs: list[TrainConfig]) -> Launch:
    return Launch(configs, [""] * len(configs), "lesionseg train")


def _run(
    store: Store, config: TrainConfig, status: Status = "FINISHED", worker: Worker | None = None, **tags: str
) -> Run:
    """The run of a configuration; RUNNING, a worker is at it."""
    assert config.sweep is not None
    own = {SWEEP_TAG: config.sweep, KIND_TAG: "run", KEY_TAG: grid_entry(config)["key"], **tags}
    if worker is not None:
        own[HEARTBEAT_TAG] = Heartbeat(worker, time.time(), 600, {"phase": "training", "step": 3}).to_text()
    run = start_run(store, "run", params={}, tags=own, parent=sweep_parent(store, config.sweep))
    if status != "RUNNING":
        run.set_status(status)
    return run


def _parent(store: Store, config: TrainConfig) -> Any:
    assert config.sweep is not None
    return store.client.get_run(find_parent(store, config.sweep))


def _after_each_look(monkeypatch: pytest.MonkeyPatch, *events: Callable[[], Any]) -> list[float]:
    """What happens while the launcher sleeps, one after the other; returns how long it slept."""
    left, slept = list(events), list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        left.pop(0)()

    monkeypatch.setattr(launch_module, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    return slept


def test_the_grid_is_written_down_the_dead_are_buried_and_the_sweep_is_running(
    configs: list[TrainConfig], store: Store
) -> None:
    dead = _run(store, configs[0], "RUNNING")
    parent = _parent(store, configs[0])
    Run(store, parent.info.run_id).set_status("FAILED")
    with Launch(configs, ["seed=1", "seed=2"], "lesionseg train"):
        assert read_grid(store, str(configs[0].sweep)) == [
            {**grid_entry(configs[0]), "also": "seed=1"},
            {**grid_entry(configs[1]), "also": "seed=2"},
        ]
        assert _parent(store, configs[0]).info.status == "RUNNING"
        assert store.client.get_run(dead.run_id).info.status == "KILLED"
        assert "lesionseg sweep" in {thread.name for thread in threading.enumerate()}
    assert "lesionseg sweep" not in {thread.name for thread in threading.enumerate()}
    assert _parent(store, configs[0]).info.status == "RUNNING", "only `finish` says how it ended"


def test_whoever_is_stopped_says_what_became_of_the_sweep(configs: list[TrainConfig], store: Store) -> None:
    launch = _launch(configs)
    with pytest.raises(SystemExit):
        _stopped(launch)
    assert _parent(store, configs[0]).info.status == "KILLED"


def _stopped(launch: Launch) -> None:
    with launch:
        raise SystemExit(143)


def test_what_was_cut_off_here_is_gone_through_again_as_long_as_that_brings_runs_to_an_end(
    configs: list[TrainConfig], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    with _launch(configs) as launch:
        _run(store, configs[1], "KILLED")
        assert not launch.has_more(), "nothing came to an end"
        _run(store, configs[0])
        assert launch.has_more()
        assert not launch.has_more()
    with _launch(configs) as launch:
        assert not launch.has_more(), "what was finished before does not count"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("ends", "more"), [("FINISHED", False), ("FAILED", False), ("KILLED", True)])
def test_others_are_waited_for_and_what_they_leave_cut_off_is_gone_through_again(
    configs: list[TrainConfig],
    store: Store,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    ends: Status,
    more: bool,
) -> None:
    with _launch(configs) as launch:
        _run(store, configs[0])
        other = _run(store, configs[1], "RUNNING", ELSEWHERE)
        slept = _after_each_look(monkeypatch, lambda: None, lambda: other.set_status(ends))
        assert launch.has_more() is more
    assert slept == [5.0, 5.0]
    assert capsys.readouterr().out == (
        "Waiting for 1 of the sweep's runs, which others work on:\n"
        "run            state    where              step\n"
        "-------------  -------  -----------------  ----------------\n"
        "scratch-n2-r1  running  process 41 on far  training, step 3\n"
    )


def test_another_who_dies_leaves_its_run_to_be_gone_through_again(
    configs: list[TrainConfig], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _launch(configs) as launch:
        other = _run(store, configs[1], "RUNNING", ELSEWHERE)
        stale = Heartbeat(ELSEWHERE, time.time() - 1000, 60, {}).to_text()
        _after_each_look(monkeypatch, lambda: other.set_tag(HEARTBEAT_TAG, stale))
        assert launch.has_more()


def test_runs_that_this_command_did_not_ask_for_are_not_waited_for(configs: list[TrainConfig], store: Store) -> None:
    with _launch(configs[:1]) as launch:
        _run(store, configs[0])
        _run(store, configs[1], "RUNNING", ELSEWHERE)
        assert not launch.has_more()
        assert launch.finish() == 0


def test_a_sweep_that_is_whole_ends_well(
    configs: list[TrainConfig], store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with _launch(configs) as launch:
        for config in configs:
            _run(store, config)
    assert launch.finish() == 0
    sweep = configs[0].sweep
    assert capsys.readouterr().out == (
        f"Sweep {sweep}: 2 of 2 runs finished (100 %).\n"
        f"  lesionseg compare sweep={sweep}    the answer, with tables, figures and a report\n"
        f"  lesionseg ui sweep={sweep}         MLflow's pages; the runs with their charts are then at\n"
        f"    {sweep_pages(store, str(sweep))[0].url}\n"
    )
    parent = _parent(store, configs[0])
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics == {
        "sweep/runs": 2,
        "sweep/finished": 2,
        "sweep/running": 0,
        "sweep/waiting": 0,
        "sweep/killed": 0,
        "sweep/failed": 0,
    }
    file = store.client.download_artifacts(parent.info.run_id, "progress.txt", str(tmp_path))
    assert Path(file).read_text() == (
        "2 of 2 runs finished (100 %)\n\n"
        "run            state\n"
        "-------------  --------\n"
        "scratch-n2-r0  finished\n"
        "scratch-n2-r1  finished\n"
    )


@pytest.mark.parametrize(
    ("ends", "counted", "line", "parent"),
    [
        ("FAILED", "1 failed", "failed   ValueError: no", "FAILED"),
        ("KILLED", "1 cut off", "cut off", "KILLED"),
        (None, "1 waiting", "waiting", "KILLED"),
    ],
)
def test_what_is_not_finished_is_listed_and_the_command_fails(
    configs: list[TrainConfig],
    store: Store,
    capsys: pytest.CaptureFixture[str],
    ends: Status | None,
    counted: str,
    line: str,
    parent: str,
) -> None:
    with _launch(configs) as launch:
        _run(store, configs[0])
        if ends is not None:
            _run(store, configs[1], ends, **{ERROR_TAG: "ValueError: no"})
    assert launch.finish() == 1
    first, told, _, _, row, *_ = capsys.readouterr().out.splitlines()
    assert first == f"Sweep {configs[0].sweep}: 1 of 2 runs finished (50 %), {counted}."
    assert told == "1 of the 2 runs of this command are not finished:"
    assert row == f"scratch-n2-r1  {line}"
    assert _parent(store, configs[0]).info.status == parent


def test_others_runs_that_are_not_finished_are_counted_and_do_not_fail_the_command(
    configs: list[TrainConfig], store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    add_to_grid(store, str(configs[0].sweep), [grid_entry(configs[1])], "lesionseg train")
    with _launch(configs[:1]) as launch:
        _run(store, configs[0])
        _run(store, configs[1], "RUNNING", this_worker())
    assert launch.finish() == 0
    assert capsys.readouterr().out.startswith(
        f"Sweep {configs[0].sweep}: 1 of 2 runs finished (50 %), 1 running.\n  lesionseg compare"
    )
    assert _parent(store, configs[0]).info.status == "RUNNING", "somebody is still at it"


def test_without_mlflow_the_end_says_that_everything_is_kept(
    configs: list[TrainConfig], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lesionseg.errors import InputError

    def away(*_: Any, **__: Any) -> Store:
        raise InputError("tracking.uri: no server answers there")

    with _launch(configs) as launch:
        monkeypatch.setattr(launch_module, "store_of", away)
        assert not launch.has_more()
    assert launch.finish() == 1
    assert capsys.readouterr().out == (
        f"Sweep {configs[0].sweep}: MLflow is away. What was logged is kept; lesionseg sync sends it.\n"
    )


def test_a_page_that_cannot_be_told_takes_nothing_from_the_end(
    configs: list[TrainConfig], store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with _launch(configs[:1]) as launch:
        _run(store, configs[0])

    def refuse(*_: Any) -> None:
        raise OSError("views are not taken")

    monkeypatch.setattr(launch_module, "seed_views", refuse)
    assert launch.finish() == 0
    assert capsys.readouterr().out.startswith(f"Sweep {configs[0].sweep}: 1 of 1 runs finished (100 %).\n")


def test_the_parent_tells_meanwhile_how_far_the_sweep_is(
    configs: list[TrainConfig], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch_module, "_REPORT_EVERY", 0.01)
    with _launch(configs):
        _run(store, configs[0])
        end = time.monotonic() + 20
        while _parent(store, configs[0]).data.metrics.get("sweep/finished") != 1:
            assert time.monotonic() < end
            time.sleep(0.01)
    assert _parent(store, configs[0]).data.metrics["sweep/waiting"] == 1


def test_a_store_that_is_another_sweeps_is_not_touched(configs: list[TrainConfig], outputs: Path) -> None:
    other = open_store(f"sqlite:///{outputs}/mlflow.db", "another experiment", None, outputs / ".lock")
    with _launch(configs):
        assert find_parent(other, str(configs[0].sweep)) is None

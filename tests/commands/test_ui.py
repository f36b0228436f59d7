import re
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from lesionseg.commands import ui as story
from lesionseg.commands.ui import ui
from lesionseg.config.schema import UiConfig
from lesionseg.errors import InputError
from lesionseg.tracking.mlflow_store import Store, open_store
from lesionseg.tracking.sweep import sweep_parent


@pytest.fixture
def store(tmp_path: Path, with_store: Any) -> Store:
    outputs = with_store(tmp_path / "outputs")
    opened = open_store(f"sqlite:///{outputs}/mlflow.db", "another", None, outputs / ".mlflow.lock")
    sweep_parent(opened, "first")
    return opened


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.fixture
def free() -> int:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        return int(other.getsockname()[1])


@pytest.fixture
def config(store: Store, tmp_path: Path, free: int) -> UiConfig:
    tracking = {"name": "sqlite", "uri": store.uri, "experiment": "another", "artifacts": None}
    paths = {"outputs": str(tmp_path / "outputs")}
    return UiConfig.model_validate({"tracking": tracking, "paths": paths, "port": free, "sweep": "first"})


@pytest.fixture
def instead_of_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has a few lines of shell run for MLflow's server."""

    def use(lines: str) -> None:
        program = tmp_path / "server"
        program.write_text(f"#!/bin/sh\n{lines}\n")
        program.chmod(0o755)
        monkeypatch.setattr(story.sys, "executable", str(program))

    return use


def _are_gone(processes: Path) -> bool:
    """Whether the two processes whose numbers a file has end within seconds."""
    numbers = [int(number) for number in processes.read_text().split()]
    assert len(numbers) == 2
    alive = [psutil.Process(number) for number in numbers if psutil.pid_exists(number)]
    until = time.monotonic() + 5
    while alive and time.monotonic() < until:
        alive = [one for one in alive if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        time.sleep(0.02)
    return not alive


def test_a_port_that_is_taken_is_told_before_anything_starts(config, taken, instead_of_mlflow, tmp_path):
    instead_of_mlflow(f"touch {tmp_path}/started")
    with pytest.raises(InputError) as caught:
        ui(config.model_copy(update={"port": taken}))
    other = taken + 1 if taken < 65535 else 5001
    assert str(caught.value) == (
        f"port={taken}: MLflow cannot be served on 127.0.0.1:{taken} (Address already in use); if lesionseg ui runs "
        f"there already, its pages are there; else choose another one, as port={other}"
    )
    assert not (tmp_path / "started").exists()


def test_a_sweep_that_never_ran_is_told(config, store):
    with pytest.raises(InputError) as caught:
        ui(config.model_copy(update={"sweep": "frist"}))
    assert str(caught.value) == (
        f"sweep=frist: there is no run of that name in {store.uri}; lesionseg ui without sweep shows all"
    )


@pytest.mark.parametrize(
    ("sweep", "titles"),
    [
        (None, ["all runs with charts"]),
        (
            "first",
            ["runs with charts", "table of the runs", "the sweep's own run: grid, progress, comparison"],
        ),
    ],
)
def test_of_a_server_that_runs_only_the_links_are_printed(config, store, monkeypatch, capsys, sweep, titles):
    served = replace(store, uri="http://tracking.example:5000")
    monkeypatch.setattr(story, "store_of", lambda *arguments, **more: served)
    assert ui(config.model_copy(update={"sweep": sweep})) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[::2] == titles
    for line in lines[1::2]:
        assert line.startswith(f"  http://tracking.example:5000/#/experiments/{store.experiment_id}/runs")


def test_a_server_that_does_not_answer_is_stopped_with_all_that_it_started_even_by_force(
    config, instead_of_mlflow, monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr(story, "_PATIENCE", 0.5)
    monkeypatch.setattr(story, "_GRACE", 0.3)
    instead_of_mlflow(f"trap '' TERM\nsleep 60 &\necho $$ $! > {tmp_path}/processes\nwait")
    before = signal.getsignal(signal.SIGHUP)
    assert ui(config) == 1
    said = capsys.readouterr()
    assert re.fullmatch(r"MLflow's server gave no answer in \d+ s; what it says is above\n", said.err)
    assert said.out == ""
    assert _are_gone(tmp_path / "processes")
    assert signal.getsignal(signal.SIGHUP) == before


@pytest.mark.parametrize("name", ["INT", "TERM", "HUP"])
def test_whoever_stops_it_leaves_no_process_and_has_exit_code_0(config, instead_of_mlflow, tmp_path, name):
    number = signal.Signals[f"SIG{name}"]
    handlers = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {one: signal.signal(one, handler) for one, handler in handlers.items()}  # nohup has HUP ignored
    try:
        instead_of_mlflow(f"sleep 60 &\necho $$ $! > {tmp_path}/processes\nkill -{name} $PPID\nwait")
        assert ui(config) == 0
    finally:
        signal.signal(signal.SIGINT, before[signal.SIGINT])
    assert signal.getsignal(number) == before[number]
    assert _are_gone(tmp_path / "processes")

"""What was run is looked at through MLflow itself."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest

from lesionseg.tracking.mlflow_store import Store, open_store


@pytest.fixture(scope="session")
def store_in() -> Callable[[Path], Store]:
    """Opens the store below a folder in which lesionseg was run."""

    def open_it(folder: Path) -> Store:
        outputs = folder / "outputs"
        return open_store(f"sqlite:///{outputs}/mlflow.db", "lesionseg", None, outputs / ".mlflow.lock", create=False)

    return open_it


@pytest.fixture(scope="session")
def runs_in(store_in: Callable[[Path], Store]) -> Callable[[Path], list[Any]]:
    """Every run of that store, oldest first."""

    def runs(folder: Path) -> list[Any]:
        store = store_in(folder)
        found = store.client.search_runs([store.experiment_id], max_results=1000)
        return sorted(found, key=lambda run: run.info.start_time)

    return runs


@pytest.fixture(scope="session")
def artifacts() -> Callable[[Any], Path]:
    """The folder of a run's artifacts."""
    return lambda run: Path(unquote(urlparse(run.info.artifact_uri).path))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def end(here: Path, inside: Callable[..., Any]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command here, in this process; gives its exit code, what it said, and what it complained of."""

    def run(*arguments: object) -> tuple[int, str, str]:
        done = inside(here, *arguments)
        return done.code, done.out, done.err

    return run


@dataclass(frozen=True)
class Started:
    """A command that was started and not waited for.

    Args:
        process: leads a session of its own.
        log: what it says.
    """

    process: Any
    log: Path

    @property
    def pid(self) -> int:
        """The process's number."""
        return int(self.process.pid)

    def end(self, seconds: float = 300) -> tuple[int, str]:
        """Its exit code and what it said, once it has ended."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"it does not end:\n{self.log.read_text()}"
        return self.process.exitcode, self.log.read_text()

    def says(self, text: str) -> str:
        """What it said, once this is part of it."""
        return until(lambda: told if text in (told := self.log.read_text()) else None)


def until(found: Callable[[], Any], seconds: float = 200) -> Any:
    """What is there at last."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = found()
        if value is not None:
            return value
        time.sleep(0.02)
    raise AssertionError("it never came")


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    """Waits for something to be there."""
    return until


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[..., Started]]:
    """Starts ``lesionseg`` in a folder, in a process of its own and within a moment, since a server of processes has
    loaded the libraries before: ``start(folder, "train", "train_size=2")``; with ``largest=1000`` a file of more bytes
    cannot be written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("HYDRA_FULL_ERROR", "0")
        from preloaded import launch

        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["lesionseg.cli", "lesionseg.commands.train", "mlflow.store.tracking"])
        count = 0

        def run(folder: Path, *arguments: object, log: str | None = None, largest: int | None = None) -> Started:
            nonlocal count
            count += 1
            folder.mkdir(parents=True, exist_ok=True)
            told = folder / (log or f"log{count}.txt")
            told.touch()
            process = context.Process(target=launch, args=([str(text) for text in arguments], folder, told, largest))
            process.start()
            return Started(process, told)

        yield run
        from multiprocessing.forkserver import _forkserver

        _forkserver._stop()  # type: ignore[attr-defined]

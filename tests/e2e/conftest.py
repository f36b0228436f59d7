"""What was run is looked at through MLflow itself."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pytest

from lesionseg.tracking import Store, open_store


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

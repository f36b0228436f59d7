"""A real store of SQLite, one for each file of tests."""

from pathlib import Path
from typing import Any

import pytest

from lesionseg.tracking.mlflow_store import Store, open_store


@pytest.fixture(scope="module")
def store(with_store: Any, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder: Path = with_store(tmp_path_factory.mktemp("tracking"))
    return open_store(f"sqlite:///{folder}/mlflow.db", "exp", str(folder / "artifacts"), folder / ".lock")

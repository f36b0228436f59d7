"""Artifacts read in place and fetched."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lesionseg.tracking import Store, open_store, remove_broken_uploads, start_run
from lesionseg.tracking import artifacts as artifacts_module
from lesionseg.tracking.artifacts import artifacts_of, local_artifacts


@pytest.fixture
def store(with_store: Any, tmp_path: Path) -> Store:
    folder = with_store(tmp_path / "a folder, 100 %")
    return open_store(f"sqlite:///{folder}/mlflow.db", "exp", str(folder / "artifacts"), folder / ".lock")


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Any:
    made = start_run(store, "run", params={}, tags={})
    (tmp_path / "cases.csv").write_text("study\n")
    made.log_file(tmp_path / "cases.csv")
    made.log_file(tmp_path / "cases.csv", "predictions")
    return store.client.get_run(made.run_id)


def test_what_lies_on_this_machine_is_read_in_place(store: Store, run: Any) -> None:
    artifacts = artifacts_of(store, run)
    assert artifacts.folder == local_artifacts(run)
    assert artifacts.store is None, "another process can be given it"
    for name in ("cases.csv", "predictions/cases.csv"):
        with artifacts.open(name) as file:
            assert file == local_artifacts(run) / name
            assert file.read_text() == "study\n"


def test_what_lies_elsewhere_is_fetched_and_gone_afterwards(
    store: Store, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lesionseg.tracking.artifacts.local_artifacts", lambda run: None)
    with artifacts_of(store, run).open("predictions/cases.csv") as file:
        assert file.read_text() == "study\n"
    assert not file.exists()


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_is_not_there_is_none(store: Store, run: Any, monkeypatch: pytest.MonkeyPatch, elsewhere: bool) -> None:
    if elsewhere:
        monkeypatch.setattr("lesionseg.tracking.artifacts.local_artifacts", lambda run: None)
    with artifacts_of(store, run).open("froc.csv") as file:
        assert file is None


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("file:///data/a%20b/artifacts", Path("/data/a b/artifacts")),
        ("/data/artifacts", Path("/data/artifacts")),
        ("mlflow-artifacts:/1/2/artifacts", None),
        ("s3://bucket/1/artifacts", None),
    ],
)
def test_where_artifacts_are_said_to_lie(uri: str, folder: Path | None) -> None:
    assert local_artifacts(SimpleNamespace(info=SimpleNamespace(artifact_uri=uri))) == folder


def test_what_a_killed_process_left_of_an_upload_is_removed_and_nothing_else(run: Any) -> None:
    folder = local_artifacts(run)
    left = [folder / ".artifact.uploading.6o66", folder / "predictions" / ".artifact.uploading.8dzw"]
    for file in left:
        file.write_text("half")
    remove_broken_uploads(run, older_than=3600)
    assert all(file.exists() for file in left), "somebody may be writing there"
    os.utime(left[0], (0, 0))
    remove_broken_uploads(run, older_than=3600)
    assert [file.exists() for file in left] == [False, True]
    remove_broken_uploads(run)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert names == ["cases.csv", "predictions/cases.csv"]
    remove_broken_uploads(SimpleNamespace(info=SimpleNamespace(artifact_uri="mlflow-artifacts:/1/a")))


def test_mlflow_names_what_it_uploads_as_is_expected() -> None:
    from mlflow.store.artifact import local_artifact_repo

    assert local_artifact_repo._TEMP_ARTIFACT_PREFIX == artifacts_module._UPLOADING

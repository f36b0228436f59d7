"""Weights of runs and of registered models, from a real registry of SQLite."""

from pathlib import Path
from typing import Any

import pytest

from lesionseg.errors import InputError
from lesionseg.tracking.artifacts import fetch_weights
from lesionseg.tracking.mlflow_store import Run, Store, open_store, start_run


@pytest.fixture(scope="module")
def store(with_store: Any, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = with_store(tmp_path_factory.mktemp("registry"))
    return open_store(f"sqlite:///{folder}/mlflow.db", "exp", str(folder / "artifacts"), folder / ".lock")


def logged(store: Store, tmp_path: Path, *names: str) -> Run:
    """A run with these files, each of which holds its own name."""
    run = start_run(store, "run", {})
    for name in names:
        file = tmp_path / "made" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
        run.log_file(file, str(Path(name).parent) if "/" in name else None)
    return run


def registered(store: Store, tmp_path: Path, name: str, *files: str) -> str:
    """A new version of a registered model, whose folder is the ``model`` of a run."""
    run = logged(store, tmp_path, *(f"model/{file}" for file in files))
    if name not in {model.name for model in store.client.search_registered_models()}:
        store.client.create_registered_model(name)
    source = f"{store.client.get_run(run.run_id).info.artifact_uri}/model"
    return str(store.client.create_model_version(name, source, run.run_id).version)


def refused(store: Store, text: str, folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        fetch_weights(store, text, folder)
    (fault,) = caught.value.faults
    assert fault.startswith(f"checkpoint {text}: ")
    return fault.removeprefix(f"checkpoint {text}: ")


def test_of_our_runs_it_is_the_best_checkpoint_and_nothing_else_is_fetched(store, tmp_path):
    run = logged(store, tmp_path, "checkpoints/best.ckpt", "checkpoints/last.ckpt", "cases.csv", "maps/big.nii.gz")
    found = fetch_weights(store, f"runs:/{run.run_id}", tmp_path / "models")
    assert found == tmp_path / "models" / run.run_id / "checkpoints" / "best.ckpt"
    assert found.read_text() == "checkpoints/best.ckpt"
    assert [file for file in (tmp_path / "models").rglob("*") if file.is_file()] == [found]
    other = fetch_weights(store, f"runs:/{run.run_id}/checkpoints/last.ckpt", tmp_path / "models")
    assert other.read_text() == "checkpoints/last.ckpt"


def test_of_another_run_it_is_its_one_file_of_weights(store, tmp_path):
    run = logged(store, tmp_path, "weights/deep/model.safetensors", "log.txt")
    found = fetch_weights(store, f"runs:/{run.run_id}", tmp_path / "models")
    assert found.read_text() == "weights/deep/model.safetensors"


@pytest.mark.parametrize("files", [("MLmodel", "data/model.pth"), ("checkpoints/best.ckpt", "other.pt")])
def test_a_registered_model_comes_whole_and_its_weights_are_found(store, tmp_path, files):
    name = f"model {files[0]}".replace("/", "-")
    version = registered(store, tmp_path, name, *files)
    found = fetch_weights(store, f"models:/{name}/{version}", tmp_path / "models")
    assert found.read_text() in ("model/data/model.pth", "model/checkpoints/best.ckpt")
    assert {file.read_text() for file in (tmp_path / "models").rglob("*") if file.is_file()} == {
        f"model/{file}" for file in files
    }
    assert len(list((tmp_path / "models").iterdir())) == 1, "nothing half fetched is left"
    before = found.stat().st_mtime_ns
    assert fetch_weights(store, f"models:/{name}/{version}", tmp_path / "models").stat().st_mtime_ns == before


@pytest.mark.parametrize("source", ["a folder", "a run", "a logged model"])
def test_wherever_a_version_says_that_its_files_are(store, tmp_path, source, monkeypatch):
    run = logged(store, tmp_path, "model/best.pt")
    where = {"a folder": (tmp_path / "made" / "model").as_uri(), "a run": f"runs:/{run.run_id}/model"}.get(source)
    model_id = None
    if where is None:
        model = store.client.create_logged_model(store.experiment_id, name="unet", source_run_id=run.run_id)
        store.client.log_model_artifacts(model.model_id, str(tmp_path / "made" / "model"))
        where, model_id = f"models:/{model.model_id}", model.model_id
    store.client.create_registered_model(source)
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store.uri)  # MLflow looks a logged model up there alone
        version = store.client.create_model_version(source, where, run.run_id, model_id=model_id).version
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/another.db")
    found = fetch_weights(store, f"models:/{source}/{version}", tmp_path / "models")
    assert found.read_text() == "model/best.pt"
    assert not (tmp_path / "another.db").exists(), "the store of the process is left alone"


def test_an_alias_is_looked_up_every_time(store, tmp_path):
    first = registered(store, tmp_path, "aliased", "first.pt")
    second = registered(store, tmp_path, "aliased", "second.pt")
    for version, file in ((first, "first.pt"), (second, "second.pt"), (first, "first.pt")):
        store.client.set_registered_model_alias("aliased", "best", version)
        assert fetch_weights(store, "models:/aliased@best", tmp_path / "models").name == file
        assert fetch_weights(store, "models:/aliased@best", tmp_path / "models") == fetch_weights(
            store, f"models:/aliased/{version}", tmp_path / "models"
        )


def test_several_files_are_listed_and_one_can_be_named(store, tmp_path):
    version = registered(store, tmp_path, "several", "a.pt", "b.pth", "notes.txt")
    text = f"models:/several/{version}"
    assert refused(store, text, tmp_path / "models") == (
        f"2 files may hold its weights: a.pt, b.pth; name one of them, as {text}/a.pt"
    )
    assert fetch_weights(store, f"{text}/b.pth", tmp_path / "models").read_text() == "model/b.pth"
    run = logged(store, tmp_path, "a.pt", "b.pt")
    assert "a.pt, b.pt; name one of them, as runs:/" in refused(store, f"runs:/{run.run_id}", tmp_path / "models")


@pytest.mark.parametrize("text", ["models:/nobody/1", "models:/nobody@best", f"runs:/{'0' * 32}"])
def test_what_is_not_there_leaves_nothing(store, tmp_path, text):
    fault = refused(store, text, tmp_path / "models")
    assert fault.startswith(f"MLflow has no such thing in {store.uri}, or cannot bring it (")
    assert fault.endswith("); look it up in lesionseg ui, or give a path")
    assert not any((tmp_path / "models").rglob("*"))

"""MLflow runs in a real store of SQLite."""

import math
from pathlib import Path
from typing import Any

import pytest

from lesionseg.tracking import (
    HASH_TAG,
    KIND_TAG,
    SWEEP_TAG,
    Run,
    Store,
    close_sweep,
    fetch_artifact,
    fetch_folder,
    find_run,
    metric_maximum,
    open_store,
    reopen,
    start_run,
    sweep_children,
    sweep_parent,
)


@pytest.fixture(scope="module")
def store(with_store: Any, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = with_store(tmp_path_factory.mktemp("runs"))
    return open_store(f"sqlite:///{folder}/mlflow.db", "exp", str(folder / "artifacts"), folder / ".lock")


def _child(store: Store, sweep: str, config_hash: str = "h", status: str = "FINISHED") -> Run:
    tags = {SWEEP_TAG: sweep, HASH_TAG: config_hash, KIND_TAG: "run"}
    run = start_run(store, "child", params={}, tags=tags, parent=sweep_parent(store, sweep) if sweep else None)
    if status != "RUNNING":
        run.end(status)  # type: ignore[arg-type]
    return run


def test_a_run_starts_with_its_params_and_tags(store: Store) -> None:
    run = start_run(store, "mine", params={"train_size": 5, "task": "flair"}, tags={"a": "b"}, parent="p")
    found = store.client.get_run(run.run_id)
    assert found.info.status == "RUNNING"
    assert found.info.run_name == "mine"
    assert found.data.params == {"train_size": "5", "task": "flair"}
    assert found.data.tags["a"] == "b"
    assert found.data.tags["mlflow.parentRunId"] == "p"
    assert run.url == f"#/experiments/{store.experiment_id}/runs/{run.run_id}"


def test_metrics_keep_their_steps_and_nan_is_left_out(store: Store) -> None:
    run = start_run(store, "metrics", params={}, tags={})
    run.log_metrics({"val/dice": 0.25, "val/f1": math.nan}, 10)
    run.log_metrics({"val/dice": 0.5}, 20)
    run.log_metrics({"val/f1": math.nan}, 20)
    assert store.client.get_run(run.run_id).data.metrics == {"val/dice": 0.5}
    history = store.client.get_metric_history(run.run_id, "val/dice")
    assert [(entry.step, entry.value) for entry in history] == [(10, 0.25), (20, 0.5)]


def test_the_highest_value_of_a_metric_is_that_of_its_whole_history(store: Store) -> None:
    run = start_run(store, "highest", params={}, tags={})
    for step, value in enumerate((0.25, 0.5, math.nan, 0.125)):
        run.log_metrics({"val/dice": value}, step)
    assert metric_maximum(store, run.run_id, "val/dice") == 0.5
    assert metric_maximum(store, run.run_id, "val/lesion_f1") is None


def test_statuses_are_those_given_and_a_run_can_go_on(store: Store) -> None:
    for status in ("FINISHED", "FAILED", "KILLED"):
        run = _child(store, "statuses", status=status)
        assert store.client.get_run(run.run_id).info.status == status
        assert reopen(store, run.run_id) == run
        assert store.client.get_run(run.run_id).info.status == "RUNNING"


def test_a_dataset_is_logged(store: Store) -> None:
    run = start_run(store, "data", params={}, tags={})
    run.log_dataset("bids", "0123456789abcdef", "/scans", "training")
    (entry,) = store.client.get_run(run.run_id).inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest, entry.dataset.source) == ("bids", "01234567", "/scans")
    assert [(tag.key, tag.value) for tag in entry.tags] == [("mlflow.data.context", "training")]


def test_a_configuration_is_found_in_its_own_sweep_alone(store: Store) -> None:
    first, alone = _child(store, "find-a", "same"), _child(store, "", "same")
    found = find_run(store, "same", "find-a")
    assert found is not None
    assert found.info.run_id == first.run_id
    found = find_run(store, "same", None)
    assert found is not None
    assert found.info.run_id == alone.run_id
    assert find_run(store, "same", "find-b") is None
    assert find_run(store, "other", "find-a") is None


def test_the_finished_one_of_several_is_found(store: Store) -> None:
    finished = _child(store, "finished", "x", "FINISHED")
    for status in ("FAILED", "KILLED", "RUNNING"):
        _child(store, "finished", "x", status)
    found = find_run(store, "x", "finished")
    assert found is not None
    assert found.info.run_id == finished.run_id


def test_a_deleted_run_is_not_found(store: Store) -> None:
    run = _child(store, "deleted", "x")
    store.client.delete_run(run.run_id)
    assert find_run(store, "x", "deleted") is None
    assert sweep_children(store, "deleted") == []


def test_a_sweep_has_one_parent_that_is_no_child(store: Store) -> None:
    parent = sweep_parent(store, "family")
    children = [_child(store, "family", str(number)).run_id for number in range(3)]
    assert sweep_parent(store, "family") == parent
    assert [run.info.run_id for run in sweep_children(store, "family")] == children
    assert {run.data.tags["mlflow.parentRunId"] for run in sweep_children(store, "family")} == {parent}
    found = store.client.get_run(parent)
    assert (found.info.run_name, found.info.status) == ("family", "RUNNING")
    assert (found.data.tags[SWEEP_TAG], found.data.tags[KIND_TAG]) == ("family", "sweep")


@pytest.mark.parametrize(
    ("children", "status"),
    [
        (("FINISHED", "FINISHED"), "FINISHED"),
        (("FINISHED", "FAILED"), "FAILED"),
        (("FINISHED", "FAILED", "KILLED"), "KILLED"),
        (("FINISHED", "RUNNING"), "RUNNING"),
        ((), "RUNNING"),
    ],
)
def test_the_parents_status_comes_from_the_children(store: Store, children: tuple[str, ...], status: str) -> None:
    sweep = "-".join(("close", *children))
    parent = sweep_parent(store, sweep)
    for number, child in enumerate(children):
        _child(store, sweep, str(number), child)
    assert close_sweep(store, sweep) == {each: children.count(each) for each in children}
    assert store.client.get_run(parent).info.status == status


def test_an_artifact_comes_back_whole(store: Store, tmp_path: Path) -> None:
    run = start_run(store, "artifacts", params={}, tags={})
    (tmp_path / "best.ckpt").write_text("weights")
    run.log_file(tmp_path / "best.ckpt", "checkpoints")
    run.log_file(tmp_path / "best.ckpt")
    folder = tmp_path / "fetched"
    for name in ("checkpoints/best.ckpt", "best.ckpt"):
        assert fetch_artifact(store, run.run_id, name, folder) == folder / name
        assert (folder / name).read_text() == "weights"
    assert sorted(path.name for path in folder.iterdir()) == ["best.ckpt", "checkpoints"]


def test_a_folder_of_artifacts_comes_back_whole(store: Store, tmp_path: Path) -> None:
    run = start_run(store, "folders", params={}, tags={})
    assert fetch_folder(store, run.run_id, "predictions", tmp_path / "none") == []
    for name in ("b.nii.gz", "a.nii.gz"):
        (tmp_path / name).write_text(name)
        run.log_file(tmp_path / name, "predictions")
    found = fetch_folder(store, run.run_id, "predictions", tmp_path / "fetched")
    assert [path.relative_to(tmp_path / "fetched").as_posix() for path in found] == [
        "predictions/a.nii.gz",
        "predictions/b.nii.gz",
    ]
    assert found[0].read_text() == "a.nii.gz"


@pytest.mark.parametrize("run_id", ["no-such-run", "0" * 32, ""])
def test_what_is_not_there_is_none_and_leaves_nothing(store: Store, tmp_path: Path, run_id: str) -> None:
    assert fetch_artifact(store, run_id, "cases.csv", tmp_path / "folder") is None
    existing = start_run(store, "bare", params={}, tags={})
    assert fetch_artifact(store, existing.run_id, "checkpoints/best.ckpt", tmp_path / "folder") is None
    assert list(tmp_path.iterdir()) == []

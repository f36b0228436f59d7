"""MLflow runs in a real store of SQLite."""

import math
import time
from pathlib import Path
from typing import get_args

import pytest

from lesionseg.tracking import (
    HASH_TAG,
    KIND_TAG,
    SWEEP_TAG,
    Run,
    Status,
    Store,
    fetch_artifact,
    fetch_folder,
    logged_steps,
    metric_maximum,
    runs_of,
    start_run,
)


def _of(store: Store, config_hash: str, sweep: str) -> Run:
    return start_run(store, "run", params={}, tags={SWEEP_TAG: sweep, HASH_TAG: config_hash, KIND_TAG: "run"})


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


def test_what_is_logged_with_its_time_is_there_once_however_often_it_is_sent(store: Store) -> None:
    run = start_run(store, "timed", params={}, tags={})
    entries = [(1, 5000, {"train/loss": 0.5, "val/dice": 0.1}), (2, 6000, {"train/loss": 0.25})]
    for _ in range(2):
        run.log_timed(entries)
    history = store.client.get_metric_history(run.run_id, "train/loss")
    assert [(entry.step, entry.timestamp, entry.value) for entry in history] == [(1, 5000, 0.5), (2, 6000, 0.25)]


def test_every_metric_and_step_that_a_run_has_is_listed(store: Store) -> None:
    run = start_run(store, "steps", params={}, tags={})
    assert logged_steps(store, store.client.get_run(run.run_id)) == set()
    for step in (1, 2):
        run.log_metrics({"train/loss": 0.5}, step)
    run.log_metrics({"val/dice": 0.5}, 2)
    found = logged_steps(store, store.client.get_run(run.run_id))
    assert found == {("train/loss", 1), ("train/loss", 2), ("val/dice", 2)}


def test_params_and_tags_come_later_too_and_params_stay(store: Store) -> None:
    from mlflow.exceptions import MlflowException

    run = start_run(store, "later", params={"a": 1}, tags={"t": "1"})
    run.log_params({"a": 1, "b": [0.1, 0.2]})
    run.set_tag("t", "2")
    found = store.client.get_run(run.run_id).data
    assert (found.params, found.tags["t"]) == ({"a": "1", "b": "[0.1, 0.2]"}, "2")
    with pytest.raises(MlflowException, match="Changing param values is not allowed"):
        run.log_params({"a": 2})


@pytest.mark.parametrize("status", [status for status in get_args(Status) if status != "RUNNING"])
def test_a_status_is_the_one_given_at_the_time_given_and_a_run_can_go_on(store: Store, status: Status) -> None:
    run = start_run(store, "status", params={}, tags={})
    run.set_status(status, 5000)
    info = store.client.get_run(run.run_id).info
    assert (info.status, info.end_time) == (status, 5000)
    run.set_status("RUNNING")
    assert store.client.get_run(run.run_id).info.status == "RUNNING"
    before = time.time() * 1000
    run.set_status(status)
    info = store.client.get_run(run.run_id).info
    assert info.status == status
    assert info.end_time >= int(before), "now, where no time is given"


def test_a_dataset_is_logged(store: Store) -> None:
    run = start_run(store, "data", params={}, tags={})
    run.log_dataset("bids", "0123456789abcdef", "/scans", "training")
    (entry,) = store.client.get_run(run.run_id).inputs.dataset_inputs
    assert (entry.dataset.name, entry.dataset.digest, entry.dataset.source) == ("bids", "01234567", "/scans")
    assert [(tag.key, tag.value) for tag in entry.tags] == [("mlflow.data.context", "training")]


def test_a_configuration_is_found_in_its_own_sweep_alone(store: Store) -> None:
    first, alone = _of(store, "same", "find-a"), _of(store, "same", "")
    _of(store, "other", "find-a")
    assert [run.info.run_id for run in runs_of(store, "same", "find-a")] == [first.run_id]
    assert [run.info.run_id for run in runs_of(store, "same", None)] == [alone.run_id]
    assert runs_of(store, "same", "find-b") == []


def test_all_runs_of_a_configuration_are_found_the_oldest_first_but_deleted_ones(store: Store) -> None:
    runs = [_of(store, "x", "several") for _ in range(4)]
    for run, status in zip(runs, ("FINISHED", "FAILED", "KILLED"), strict=False):
        run.set_status(status)  # type: ignore[arg-type]
    store.client.delete_run(runs[1].run_id)
    assert [run.info.status for run in runs_of(store, "x", "several")] == ["FINISHED", "KILLED", "RUNNING"]


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

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from lesionseg.tracking.runs import start_run
from lesionseg.tracking.store import Store, open_store
from lesionseg.tracking.tags import KIND_TAG, SWEEP_TAG
from lesionseg.tracking.views import BY_SIZE, View, scores_by_size, seed_views, sweep_views

LIMIT = 5000  # characters that an experiment tag may have


@pytest.fixture
def store(tmp_path: Path, with_store: Any) -> Store:
    outputs = with_store(tmp_path / "outputs")
    return open_store(f"sqlite:///{outputs}/mlflow.db", "another", None, outputs / ".mlflow.lock")


def _log(store: Store, sweep: str, metrics: dict[str, float]) -> None:
    """A run of a sweep, with metrics."""
    start_run(store, "a run", params={}, tags={SWEEP_TAG: sweep, KIND_TAG: "run"}).log_metrics(metrics, step=4)


def _saved(store: Store) -> dict[str, str]:
    tags = store.client.get_experiment(store.experiment_id).tags
    return {key: value for key, value in tags.items() if key.startswith("mlflow.sharedViewState.")}


def test_scores_over_the_training_size_have_names_of_their_own() -> None:
    scores = {"test/lesion_sensitivity": 0.5, "test/lesion_ppv": float("nan"), "test/dice": 0.7}
    assert list(scores_by_size(scores)) == ["test_by_size/lesion_sensitivity", "test_by_size/lesion_ppv"]
    assert scores_by_size({"test/lesion_ppv": 0.25}) == {"test_by_size/lesion_ppv": 0.25}


def test_the_curves_are_one_line_for_each_init_over_the_training_size() -> None:
    curves, _ = sweep_views("first")
    assert (curves.title, curves.mode) == ("first: sensitivity and PPV over training size", "CHART")
    assert curves.state["groupBy"] == {
        "aggregateFunction": "average",
        "groupByKeys": [{"mode": "param", "groupByData": "init"}],
    }
    logged = scores_by_size({f"test/{name}": 0.5 for name in BY_SIZE})
    charts = curves.state["compareRunCharts"]
    assert [(chart["type"], chart["metricKey"], chart["xAxisKey"]) for chart in charts] == [
        ("LINE", name, "step") for name in logged
    ]
    (section,) = curves.state["compareRunSections"]
    assert {chart["metricSectionId"] for chart in charts} == {section["uuid"]}


def test_the_table_has_the_columns_one_wants() -> None:
    _, table = sweep_views("first")
    assert (table.title, table.mode) == ("first: table of the runs", "TABLE")
    assert table.state["groupBy"] is None
    assert table.state["selectedColumns"] == table.state["columnOrder"]
    assert [name.partition(".")[2].strip("`") for name in table.state["selectedColumns"]] == [
        "init",
        "train_size",
        "repeat",
        "test/lesion_sensitivity",
        "test/lesion_ppv",
        "test/lesion_f1",
        "test/dice",
        "Duration",
        "Dataset",
    ]


@pytest.mark.parametrize("number", [0, 1])
def test_both_show_all_children_of_the_sweep_and_no_other_run(number: int) -> None:
    state = sweep_views("first")[number].state
    assert state["searchFilter"] == "tags.`lesionseg.sweep` = 'first' and tags.`lesionseg.kind` = 'run'"
    assert state["orderByKey"] == "metrics.`test/lesion_f1`", "any order but by time unfolds the children"
    assert state["runsHiddenMode"] == "SHOW_ALL"


def test_a_view_is_written_as_todays_pages_and_as_older_ones_read_it() -> None:
    for view in sweep_views("a-name-" + "x" * 200):
        text = view.value(1_700_000_000_000)
        assert len(text) < LIMIT
        value = json.loads(text)
        assert (value["name"], value["createdAt"]) == (view.title, 1_700_000_000_000)
        kind, _, packed = value["state"].partition(";")
        assert kind == "deflate"
        assert json.loads(zlib.decompress(base64.b64decode(packed))) == view.state
        assert {key: value[key] for key in view.state} == view.state


def test_the_key_is_a_digest_of_the_content() -> None:
    keys = [view.key for sweep in ("first", "other") for view in sweep_views(sweep)]
    assert len(set(keys)) == 4
    assert keys[:2] == [view.key for view in sweep_views("first")]
    view = View("a view", "TABLE", {"groupBy": None})
    assert view.key != View("a view", "TABLE", {"groupBy": "init"}).key
    assert view.tag == f"mlflow.sharedViewState.{view.key}"


def test_views_are_written_once_and_those_of_others_are_left_alone(store: Store) -> None:
    store.client.set_experiment_tag(store.experiment_id, "mlflow.sharedViewState.mine", "{}")
    _log(store, "first", scores_by_size({"test/lesion_sensitivity": 0.0}))
    seed_views(store, "first")
    first = _saved(store)
    seed_views(store, "first")
    assert _saved(store) == first, "not even their time is another one"
    assert set(first) == {"mlflow.sharedViewState.mine", *(view.tag for view in sweep_views("first"))}
    assert first["mlflow.sharedViewState.mine"] == "{}"


def test_curves_wait_until_there_is_something_to_draw(store: Store) -> None:
    curves, table = sweep_views("first")
    _log(store, "first", {"test/lesion_sensitivity": 0.5})
    _log(store, "other", scores_by_size({"test/lesion_sensitivity": 0.5}))
    seed_views(store, "first")
    assert set(_saved(store)) == {table.tag}
    _log(store, "first", scores_by_size({"test/lesion_sensitivity": 0.0}))
    seed_views(store, "first")
    assert set(_saved(store)) == {curves.tag, table.tag}


def test_a_store_that_refuses_them_is_told_of_in_a_line(store: Store) -> None:
    store.client.delete_experiment(store.experiment_id)
    said: list[str] = []
    seed_views(store, "first", said.append)
    (line,) = said
    assert line.startswith("MLflow did not take the saved views of first (")
    assert line.endswith("); its runs are there")
    assert "active" in line, "what MLflow itself says"
    assert "\n" not in line
    assert _saved(store) == {}

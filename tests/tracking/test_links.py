from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from mlflow.exceptions import MlflowException

from lesionseg.tracking.links import Page, chart_page, pages_root, sweep_pages
from lesionseg.tracking.runs import start_run
from lesionseg.tracking.store import Store, open_store
from lesionseg.tracking.sweeps import sweep_parent
from lesionseg.tracking.tags import KIND_TAG, SWEEP_TAG
from lesionseg.tracking.views import scores_by_size, seed_views, sweep_views


@pytest.fixture
def store(tmp_path: Path, with_store: Any) -> Store:
    outputs = with_store(tmp_path / "outputs")
    return open_store(f"sqlite:///{outputs}/mlflow.db", "another", None, outputs / ".mlflow.lock")


def test_the_page_is_a_flat_list_with_charts() -> None:
    asked = parse_qs(urlparse(chart_page("3", None).removeprefix("#")).query)
    assert chart_page("3", None).startswith("#/experiments/3/runs?")
    assert asked["compareRunsMode"] == ["CHART"]
    assert asked["orderByKey"] == ["metrics.`test/lesion_f1`"], "any order but by time unfolds the children"
    assert "searchFilter" not in asked


def test_the_runs_of_a_sweep_are_filtered_for_and_not_its_parent() -> None:
    asked = parse_qs(urlparse(chart_page("3", "first").removeprefix("#")).query)
    assert asked["searchFilter"] == ["tags.`lesionseg.sweep` = 'first' and tags.`lesionseg.kind` = 'run'"]


def test_a_sweep_has_a_page_for_each_view_that_was_saved(store: Store) -> None:
    here = "http://127.0.0.1:5000"
    charts = Page("runs with charts", f"{here}/{chart_page(store.experiment_id, 'first')}")
    assert sweep_pages(store, "first") == [charts], "a link to a view that is not there opens nothing"

    tags = {SWEEP_TAG: "first", KIND_TAG: "run"}
    run = start_run(store, "a run", params={}, tags=tags)
    run.log_metrics(scores_by_size({"test/lesion_sensitivity": 0.0}), step=4)
    seed_views(store, "first")
    first, curves, table = sweep_pages(store, "first")
    assert first == charts
    assert (curves.title, table.title) == ("sensitivity and PPV over training size", "table of the runs")
    for page, view in zip((curves, table), sweep_views("first"), strict=True):
        asked = parse_qs(urlparse(page.url.partition("#")[2]).query)
        assert asked == {
            "compareRunsMode": [view.mode],
            "workflowType": ["machine_learning"],
            "viewStateShareKey": [view.key],
        }, "a filter beside it would have the view left aside"
    assert sweep_pages(store, "other") == [replace(charts, url=charts.url.replace("first", "other"))]
    assert sweep_pages(store, "first", "http://elsewhere:80")[1].url.startswith("http://elsewhere:80/#/experiments/")


def test_the_sweeps_own_run_has_a_page(store: Store) -> None:
    parent = sweep_parent(store, "first")
    _, own = sweep_pages(store, "first", "http://here")
    assert own == Page(
        "the sweep's own run: grid, progress, comparison",
        f"http://here/#/experiments/{store.experiment_id}/runs/{parent}",
    )


def test_a_store_that_does_not_tell_of_views_still_has_its_runs(store: Store) -> None:
    class Mute:
        def get_experiment(self, experiment_id: str) -> Any:
            raise MlflowException("no access")

    assert [page.title for page in sweep_pages(replace(store, client=Mute()), "first")] == ["runs with charts"]


@pytest.mark.parametrize(
    ("uri", "root"),
    [
        ("sqlite:////data/mlflow.db", "http://127.0.0.1:5001"),
        ("http://tracking.example:5000/", "http://tracking.example:5000"),
        ("https://me:secret@tracking.example/mlflow", "https://tracking.example/mlflow"),
    ],
)
def test_pages_are_where_the_server_is_and_no_password_is_told(store: Store, uri: str, root: str) -> None:
    assert pages_root(replace(store, uri=uri), port=5001) == root

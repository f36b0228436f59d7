"""Saved views of a sweep in MLflow's pages, and links to them.

How MLflow stores views is documented nowhere. It was read from the pages of 3.17, where a view is an experiment tag
with a name, a time and a state, and from those of 3.1, where the tag is the state itself: what is written here is
both.
"""

import base64
import hashlib
import json
import time
import zlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from lesionseg.tracking.mlflow_store import KIND_TAG, SWEEP_TAG, Run, Store
from lesionseg.tracking.sweep import find_parent

BY_SIZE = ("lesion_sensitivity", "lesion_ppv")
"""Test scores that are logged over the training size as well: MLflow draws lines over steps and over nothing else."""
COLOURS = ("D55E00", "00496F", "009E73", "CC79A7", "000000", "56A4D9", "8F7700", "E69F00")
"""Of the arms in their order, as in the report's figures."""
COLOUR_TAG = "mlflow.runColor"
_TAG, _PREFIX = "mlflow.sharedViewState.", "test_by_size"


def scores_by_size(scores: Mapping[str, float]) -> dict[str, float]:
    """Return test scores under the names by which they are logged once more, with the training size for a step."""
    return {f"{_PREFIX}/{name}": scores[f"test/{name}"] for name in BY_SIZE if f"test/{name}" in scores}


def sweep_pages(store: Store, sweep: str, address: str) -> list[tuple[str, str]]:
    """Return the pages of a sweep, each with a title and its address: its runs with charts, its saved views, its own
    run.

    The saved views are written first, once however often this is called. A store that refuses them is no fault: the
    pages show the runs without.
    """
    from mlflow.exceptions import MlflowException

    pages = [("runs with charts", f"{address}/{chart_page(store.experiment_id, sweep)}")]
    try:
        scored = f"{_query(sweep)} and metrics.`{_PREFIX}/{BY_SIZE[0]}` >= 0"
        has_scores = store.client.search_runs([store.experiment_id], scored, max_results=1)
        there = store.client.get_experiment(store.experiment_id).tags
        for title, mode, state in _views(sweep)[0 if has_scores else 1 :]:
            key = hashlib.sha256(json.dumps([title, mode, state], sort_keys=True).encode()).hexdigest()[:16]
            if _TAG + key not in there:
                packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
                name = {"name": f"{sweep}: {title}", "createdAt": int(time.time() * 1000)}
                value = json.dumps({**name, "state": f"deflate;{packed}", **state}, separators=(",", ":"))
                store.client.set_experiment_tag(store.experiment_id, _TAG + key, value)
            # no filter and no order beside it: where there is one, the pages leave the view aside
            page = f"#/experiments/{store.experiment_id}/runs?compareRunsMode={mode}&workflowType=machine_learning"
            pages.append((title, f"{address}/{page}&viewStateShareKey={key}"))
    except MlflowException as error:
        print(f"MLflow did not take the saved views of {sweep} ({str(error).splitlines()[0]}); its runs are there")
    parent = find_parent(store, sweep)
    if parent is not None:
        pages.append(("the sweep's own run: grid, progress, comparison", f"{address}/{Run(store, parent).url}"))
    return pages


def pages_root(store: Store, port: int = 5000) -> str:
    """Return where MLflow's pages are: the server that the store is, without its password, or this machine."""
    parts = urlsplit(store.uri)
    if parts.scheme not in ("http", "https"):
        return f"http://127.0.0.1:{port}"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def chart_page(experiment_id: str, sweep: str | None) -> str:
    """Return the page that shows a sweep's runs, or all, as a flat list with charts: sorted by a metric, children are
    not folded away."""
    wanted = f"&searchFilter={quote(_query(sweep))}" if sweep else ""
    return (
        f"#/experiments/{experiment_id}/runs?compareRunsMode=CHART&workflowType=machine_learning"
        f"&orderByKey=metrics.%60test%2Flesion_f1%60&orderByAsc=false{wanted}"
    )


def _query(sweep: str) -> str:
    return f"tags.`{SWEEP_TAG}` = {sweep!r} and tags.`{KIND_TAG}` = 'run'"


def _views(sweep: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return title, mode and the pages' settings of each view: lines over the training size, and the table of runs."""
    metrics = [f"{_PREFIX}/{name}" for name in BY_SIZE]
    section = {"uuid": _PREFIX, "name": "Step = training size", "display": True, "columns": 2, "cardHeight": 400}
    lines = {
        "compareRunCharts": [
            {
                **{"uuid": metric, "type": "LINE", "metricSectionId": _PREFIX, "metricKey": metric, "xAxisKey": "step"},
                **{"selectedMetricKeys": [metric], "selectedXAxisMetricKey": "", "xAxisScaleType": "linear"},
                **{"scaleType": "linear", "lineSmoothness": 0, "displayPoints": True, "yAxisKey": "metric"},
                **{"yAxisExpressions": [], "useGlobalXaxisKey": False, "useGlobalLineSmoothing": False},
                **{"deleted": False, "isGenerated": False, "runsCountToCompare": 100},
            }
            for metric in metrics
        ],
        "compareRunSections": [{**section, "isReordered": False, "deleted": False, "isGenerated": False}],
        "isAccordionReordered": True,  # else the sections are put in order of their names
        "groupBy": {"aggregateFunction": "average", "groupByKeys": [{"mode": "param", "groupByData": "init"}]},
    }
    params = [f"params.`{name}`" for name in ("init", "train_size", "repeat")]
    scores = [f"metrics.`test/{name}`" for name in (*BY_SIZE, "lesion_f1", "merged_lesions", "dice")]
    columns = [*params, *scores, "attributes.`Duration`", "attributes.`Dataset`"]
    # Every setting of the pages, since older ones have no defaults for what a view leaves out.
    common: dict[str, Any] = {
        **{"searchFilter": _query(sweep), "orderByKey": "metrics.`test/lesion_f1`", "orderByAsc": False},
        **{"startTime": "ALL", "lifecycleFilter": "Active", "modelVersionFilter": "All Runs", "datasetsFilter": []},
        **{"selectedColumns": columns, "columnOrder": columns, "groupsExpanded": {}, "runsExpanded": {}},
        **{"columnWidths": {"metrics.`test/lesion_sensitivity`": 165, "attributes.`Dataset`": 180}},
        **{"runsPinned": [], "runsHidden": [], "runsVisibilityMap": {}, "viewMaximized": False, "runListHidden": False},
        "runsHiddenMode": "SHOW_ALL",  # else the charts have the first ten runs only
        **{"isAccordionReordered": False, "useGroupedValuesInCharts": True, "hideEmptyCharts": True},
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
        "autoRefreshEnabled": True,
    }
    return [
        ("sensitivity and PPV over training size", "CHART", {**common, **lines}),
        ("table of the runs", "TABLE", {**common, "groupBy": None}),
    ]

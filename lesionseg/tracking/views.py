"""Saved views of a sweep in MLflow's pages.

How MLflow stores them is documented nowhere. It was read from the pages of 3.17, where a view is an experiment tag with
a name, a time and a state, and from those of 3.1, where the tag is the state itself: what is written here is both.
"""

import base64
import hashlib
import json
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lesionseg.tracking.store import Store
from lesionseg.tracking.tags import KIND_TAG, SWEEP_TAG

BY_SIZE = ("lesion_sensitivity", "lesion_ppv")
"""Test scores that are logged over the training size as well."""
_PREFIX = "test_by_size"
_TAG = "mlflow.sharedViewState."
_COLUMNS = (
    *(f"params.`{name}`" for name in ("init", "train_size", "repeat")),
    *(f"metrics.`test/{name}`" for name in (*BY_SIZE, "lesion_f1", "dice")),
    "attributes.`Duration`",
    "attributes.`Dataset`",
)


@dataclass(frozen=True)
class View:
    """How MLflow's pages are to show a sweep.

    Args:
        title: what it shows; its name in the pages' list of views.
        mode: charts beside a list of the runs, or their table.
        state: the pages' settings, by their own names for them.
    """

    title: str
    mode: Literal["CHART", "TABLE"]
    state: Mapping[str, Any]

    @property
    def key(self) -> str:
        """By which a link asks for it: a digest of its content."""
        content = json.dumps([self.title, self.mode, self.state], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def tag(self) -> str:
        """The experiment tag that holds it."""
        return _TAG + self.key

    def value(self, now: int) -> str:
        """The tag's value, in the form of today's pages and in that of older ones.

        Args:
            now: when it was made, milliseconds since 1970; newer views are listed first.
        """
        packed = base64.b64encode(zlib.compress(json.dumps(self.state).encode())).decode()
        return json.dumps(
            {"name": self.title, "createdAt": now, "state": f"deflate;{packed}", **self.state}, separators=(",", ":")
        )


def scores_by_size(scores: Mapping[str, float]) -> dict[str, float]:
    """A run's test scores under the names by which they are to be logged once more, with the training size for a step.

    MLflow draws a line for each group of runs over steps and over nothing else; so the sizes must be the steps.

    Args:
        scores: ``test/lesion_sensitivity`` and others by their names in MLflow.

    Returns:
        ``test_by_size/lesion_sensitivity`` and ``test_by_size/lesion_ppv``; those of them that there are.
    """
    return {f"{_PREFIX}/{name}": scores[f"test/{name}"] for name in BY_SIZE if f"test/{name}" in scores}


def children_query(sweep: str) -> str:
    """A sweep's runs but its parent, in MLflow's language for searches."""
    return f"tags.`{SWEEP_TAG}` = {sweep!r} and tags.`{KIND_TAG}` = 'run'"


def sweep_views(sweep: str) -> tuple[View, View]:
    """A sweep's saved views: its learning curves, a line for each init, and its table."""
    return _curves(sweep), _table(sweep)


def seed_views(store: Store, sweep: str, say: Callable[[str], None] = print) -> None:
    """Write a sweep's saved views into its experiment; once, however often it is called.

    The learning curves are left out until a run has scores to draw. A store that refuses a view is no fault: the pages
    show the runs without.

    Args:
        store: where the sweep is.
        sweep: its name.
        say: is told, in a line, why there are none.
    """
    from mlflow.exceptions import MlflowException

    curves, table = sweep_views(sweep)
    try:
        there = store.client.get_experiment(store.experiment_id).tags
        for view in (curves, table) if _has_scores(store, sweep) else (table,):
            if view.tag not in there:
                store.client.set_experiment_tag(store.experiment_id, view.tag, view.value(int(time.time() * 1000)))
    except MlflowException as error:
        say(f"MLflow did not take the saved views of {sweep} ({str(error).splitlines()[0]}); its runs are there")


def _has_scores(store: Store, sweep: str) -> bool:
    """Whether a run of a sweep has `scores_by_size`."""
    query = f"{children_query(sweep)} and metrics.`{_PREFIX}/{BY_SIZE[0]}` >= 0"
    return bool(store.client.search_runs([store.experiment_id], filter_string=query, max_results=1))


def _curves(sweep: str) -> View:
    """Lines over the training size: the mean of the repeats, from the lowest to the highest."""
    section = {
        "uuid": _PREFIX,
        "name": "Step = training size",
        "display": True,
        "isReordered": False,
        "deleted": False,
        "isGenerated": False,
        "columns": 2,
        "cardHeight": 400,
    }
    group = {"aggregateFunction": "average", "groupByKeys": [{"mode": "param", "groupByData": "init"}]}
    more = {
        "compareRunCharts": [_line(name) for name in BY_SIZE],
        "compareRunSections": [section],
        "isAccordionReordered": True,  # else the sections are put in order of their names
        "groupBy": group,
    }
    return View(f"{sweep}: sensitivity and PPV over training size", "CHART", _state(sweep, **more))


def _line(name: str) -> dict[str, Any]:
    """One chart; whatever a setting is called, its x axis is the step."""
    metric = f"{_PREFIX}/{name}"
    return {
        "uuid": metric,
        "type": "LINE",
        "metricSectionId": _PREFIX,
        "deleted": False,
        "isGenerated": False,
        "runsCountToCompare": 100,
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "lineSmoothness": 0,
        "displayPoints": True,
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "useGlobalXaxisKey": False,
        "useGlobalLineSmoothing": False,
    }


def _table(sweep: str) -> View:
    return View(f"{sweep}: table of the runs", "TABLE", _state(sweep, groupBy=None))


def _state(sweep: str, **more: Any) -> dict[str, Any]:
    """Every setting of the pages, since older ones have no defaults for what a view leaves out."""
    return {
        "searchFilter": children_query(sweep),
        "orderByKey": "metrics.`test/lesion_f1`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": list(_COLUMNS),
        "columnOrder": list(_COLUMNS),
        "columnWidths": {"metrics.`test/lesion_sensitivity`": 165, "attributes.`Dataset`": 180},
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "SHOW_ALL",  # else the charts have the first ten runs only
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": False,
        "groupsExpanded": {},
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
        **more,
    }

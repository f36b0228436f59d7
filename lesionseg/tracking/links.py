"""Links into MLflow's pages."""

from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

from lesionseg.tracking.runs import Run
from lesionseg.tracking.store import Store
from lesionseg.tracking.sweeps import find_parent
from lesionseg.tracking.views import children_query, sweep_views

PORT = 5000
"""Where ``lesionseg ui`` serves, unless told otherwise."""


@dataclass(frozen=True)
class Page:
    """A page and what it shows.

    Args:
        title: a few words.
        url: its address.
    """

    title: str
    url: str


def sweep_pages(store: Store, sweep: str, address: str | None = None) -> list[Page]:
    """The pages of a sweep: its runs with charts, those of its saved views that the store has, and its own run, the
    parent of the others.

    Args:
        store: where the sweep is.
        sweep: its name.
        address: of the server that shows them; None for the store itself where that is a server, else for this
            machine, where ``lesionseg ui`` serves.
    """
    from mlflow.exceptions import MlflowException

    root = address or pages_root(store)
    pages = [Page("runs with charts", f"{root}/{chart_page(store.experiment_id, sweep)}")]
    try:
        there = store.client.get_experiment(store.experiment_id).tags
        parent = find_parent(store, sweep)
    except MlflowException:  # all others are an extra
        return pages
    for view in sweep_views(sweep):
        if view.tag in there:
            title = view.title.removeprefix(f"{sweep}: ")
            pages.append(Page(title, f"{root}/{_view_page(store.experiment_id, view.mode, view.key)}"))
    if parent is not None:
        pages.append(Page("the sweep's own run: grid, progress, comparison", f"{root}/{Run(store, parent).url}"))
    return pages


def pages_root(store: Store, port: int = PORT) -> str:
    """Where MLflow's pages on a store are: the server that it is, without its password, or this machine."""
    parts = urlsplit(store.uri)
    if parts.scheme not in ("http", "https"):
        return f"http://127.0.0.1:{port}"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def chart_page(experiment_id: str, sweep: str | None) -> str:
    """The page that shows a sweep's runs, or all, as a flat list with charts: sorted by a metric, children are not
    folded away. A sweep's parent is left out, since its metrics would come first."""
    wanted = f"&searchFilter={quote(children_query(sweep))}" if sweep else ""
    return (
        f"#/experiments/{experiment_id}/runs?compareRunsMode=CHART&workflowType=machine_learning"
        "&orderByKey=metrics.%60test%2Flesion_f1%60&orderByAsc=false" + wanted
    )


def _view_page(experiment_id: str, mode: str, key: str) -> str:
    # no filter and no order beside it: where there is one, the pages leave the view aside
    return (
        f"#/experiments/{experiment_id}/runs?compareRunsMode={mode}&workflowType=machine_learning"
        f"&viewStateShareKey={key}"
    )

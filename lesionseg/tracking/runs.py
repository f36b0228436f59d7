"""MLflow runs: made, found again, written to and ended by us."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from filelock import FileLock

from lesionseg.tracking.store import Store

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
SWEEP_TAG = "lesionseg.sweep"
HASH_TAG = "lesionseg.config_hash"
KIND_TAG = "lesionseg.kind"
PARENT_TAG = "mlflow.parentRunId"


@dataclass(frozen=True)
class Run:
    """One MLflow run, open for writing."""

    store: Store
    run_id: str

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Values at a step, in one request; NaN is left out, since MLflow's pages cannot show it."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        entries = [Metric(key, float(value), now, step) for key, value in metrics.items() if value == value]
        if entries:
            self.store.client.log_batch(self.run_id, metrics=entries)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Params, in one request; those that are there already must be the same."""
        from mlflow.entities import Param

        entries = [Param(key, str(value)) for key, value in params.items()]
        self.store.client.log_batch(self.run_id, params=entries)

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """A file as an artifact."""
        self.store.client.log_artifact(self.run_id, str(path), folder)

    def set_tag(self, key: str, value: str) -> None:
        """A tag."""
        self.store.client.set_tag(self.run_id, key, value)

    def log_dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """What the run learned from, for MLflow's Dataset column."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        tag = InputTag("mlflow.data.context", context)
        dataset = Dataset(name=name, digest=digest[:8], source_type="local", source=source)
        self.store.client.log_inputs(self.run_id, datasets=[DatasetInput(dataset, tags=[tag])])

    def end(self, status: Status) -> None:
        """Set the final status."""
        self.store.client.set_terminated(self.run_id, status=status)

    @property
    def url(self) -> str:
        """Its address in MLflow's pages, from the server's root."""
        return f"#/experiments/{self.store.experiment_id}/runs/{self.run_id}"


def start_run(
    store: Store, name: str, *, params: Mapping[str, Any], tags: Mapping[str, str], parent: str | None = None
) -> Run:
    """A new run with status RUNNING.

    Args:
        store: where.
        name: shown in MLflow's table.
        params: never change afterwards.
        tags: may.
        parent: run id of the sweep's parent.
    """
    all_tags = {**tags, **({PARENT_TAG: parent} if parent else {})}
    created = store.client.create_run(store.experiment_id, run_name=name, tags=all_tags)
    run = Run(store, created.info.run_id)
    run.log_params(params)
    return run


def reopen(store: Store, run_id: str) -> Run:
    """A run that was cut off, RUNNING again."""
    store.client.update_run(run_id, status="RUNNING")
    return Run(store, run_id)


def find_run(store: Store, config_hash: str, sweep: str | None) -> Any | None:
    """The run of a configuration in a sweep, the finished one if there is one; None if it never ran."""
    query = f"tags.`{HASH_TAG}` = '{config_hash}' and tags.`{SWEEP_TAG}` = '{sweep or ''}'"
    found = list(store.client.search_runs([store.experiment_id], filter_string=query))
    finished = [run for run in found if run.info.status == "FINISHED"]
    return next(iter(finished or found), None)


def sweep_parent(store: Store, sweep: str) -> str:
    """The run id of a sweep's parent run; made by whoever asks first."""
    query = f"tags.`{SWEEP_TAG}` = '{sweep}' and tags.`{KIND_TAG}` = 'sweep'"
    with FileLock(store.lock):
        found = store.client.search_runs([store.experiment_id], filter_string=query)
        if found:
            return str(found[0].info.run_id)
        tags = {SWEEP_TAG: sweep, KIND_TAG: "sweep"}
        return str(store.client.create_run(store.experiment_id, run_name=sweep, tags=tags).info.run_id)


def sweep_children(store: Store, sweep: str) -> list[Any]:
    """All runs of a sweep but its parent, oldest first, as MLflow's entities."""
    query = f"tags.`{SWEEP_TAG}` = '{sweep}' and tags.`{KIND_TAG}` = 'run'"
    found: list[Any] = []
    token: str | None = None
    while True:
        page = store.client.search_runs([store.experiment_id], filter_string=query, max_results=1000, page_token=token)
        found += page
        token = page.token
        if not token:
            return sorted(found, key=lambda run: run.info.start_time)


def close_sweep(store: Store, sweep: str) -> dict[str, int]:
    """Give the parent run the status that its children make: FINISHED if they all are, else KILLED if one is, else
    FAILED; untouched while one is RUNNING.

    Returns:
        How many children have which status.
    """
    counts = dict(Counter(child.info.status for child in sweep_children(store, sweep)))
    if counts and "RUNNING" not in counts:
        status = "FINISHED" if set(counts) == {"FINISHED"} else "KILLED" if "KILLED" in counts else "FAILED"
        store.client.set_terminated(sweep_parent(store, sweep), status=status)
    return counts


def metric_maximum(store: Store, run_id: str, name: str) -> float | None:
    """The highest value that a metric of a run ever had; None if it was never logged."""
    history = store.client.get_metric_history(run_id, name)
    return max((float(entry.value) for entry in history), default=None)


def fetch_artifact(store: Store, run_id: str, name: str, folder: Path) -> Path | None:
    """An artifact as a file ``folder/name`` on this machine, whole or not at all; None if there is no such run, or
    it has no artifact of that name."""
    from mlflow.exceptions import MlflowException

    parent = str(Path(name).parent) if "/" in name else None
    try:
        names = {entry.path for entry in store.client.list_artifacts(run_id, parent)}
    except MlflowException:
        return None
    if name not in names:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".partial-", dir=folder) as partial:
        downloaded = Path(store.client.download_artifacts(run_id, name, partial))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        return downloaded.replace(folder / name)


def fetch_folder(store: Store, run_id: str, name: str, folder: Path) -> list[Path]:
    """The files of an artifact folder as ``folder/name/...`` on this machine; empty if the run has none."""
    if not store.client.list_artifacts(run_id, name):
        return []
    folder.mkdir(parents=True, exist_ok=True)
    found = Path(store.client.download_artifacts(run_id, name, str(folder)))
    return sorted(file for file in found.rglob("*") if file.is_file())

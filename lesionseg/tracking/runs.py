"""MLflow runs: made, found again, written to and ended by us."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lesionseg.tracking.journal import Status
from lesionseg.tracking.store import Store
from lesionseg.tracking.tags import HASH_TAG, PARENT_TAG, SWEEP_TAG


@dataclass(frozen=True)
class Run:
    """One MLflow run, open for writing; every call goes to the store at once."""

    store: Store
    run_id: str

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Values at a step, in one request; NaN is left out, since MLflow's pages cannot show it."""
        values = {key: float(value) for key, value in metrics.items() if value == value}
        if values:
            self.log_timed([(step, int(time.time() * 1000), values)])

    def log_timed(self, entries: Sequence[tuple[int, int, Mapping[str, float]]]) -> None:
        """Several steps with the milliseconds since 1970 at which they were, and their values, in one request; what is
        there already, with the same step, time and value, is not there twice."""
        from mlflow.entities import Metric

        metrics = [Metric(key, value, when, step) for step, when, values in entries for key, value in values.items()]
        self.store.client.log_batch(self.run_id, metrics=metrics)

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

    def set_status(self, status: Status, end_time: int | None = None) -> None:
        """RUNNING, or how it ended, and when in milliseconds since 1970; None: now."""
        if status == "RUNNING":
            self.store.client.update_run(self.run_id, status=status)
        else:
            self.store.client.set_terminated(self.run_id, status=status, end_time=end_time)

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
    if params:
        run.log_params(params)
    return run


def runs_of(store: Store, config_hash: str, sweep: str | None) -> list[Any]:
    """Every run of a configuration in a sweep, oldest first, as MLflow's entities."""
    query = f"tags.`{HASH_TAG}` = '{config_hash}' and tags.`{SWEEP_TAG}` = '{sweep or ''}'"
    found = store.client.search_runs([store.experiment_id], filter_string=query)
    return sorted(found, key=lambda run: run.info.start_time)


def logged_steps(store: Store, run: Any) -> set[tuple[str, int]]:
    """Every metric and step that a run has; ``run`` as MLflow's entity."""
    names = list(run.data.metrics)
    histories = (store.client.get_metric_history(run.info.run_id, name) for name in names)
    return {(entry.key, entry.step) for history in histories for entry in history}


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

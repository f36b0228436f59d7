"""What the finished runs of a sweep left in MLflow of their settings and their validation."""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import yaml

from lesionseg.errors import InputError
from lesionseg.report import RateSearch, RecordedRun, WeightSource, flat
from lesionseg.runs.plan import counted
from lesionseg.tracking import Store, fetch_artifact, is_address, metric_maximum

_APART = ("init", "train_size", "repeat")
_NEVER_SCORED = ("metrics.save_predictions",)


def cases_of(store: Store, run: Any) -> pd.DataFrame:
    """A finished run's ``cases.csv``, with the run's place in the grid: init, train_size and repeat.

    Raises:
        InputError: it has none.
    """
    with TemporaryDirectory() as folder:
        file = _artifact(store, run, "cases.csv", Path(folder))
        table = pd.read_csv(file, dtype={"subject": str, "session": str}, keep_default_na=False, na_values=[""])
    table["session"] = table["session"].fillna("")
    params = run.data.params
    return table.assign(init=params["init"], train_size=int(params["train_size"]), repeat=int(params["repeat"]))


def recorded_run(store: Store, run: Any) -> RecordedRun:
    """A finished run's settings, first weights, learning rate and best validation value.

    Args:
        store: where it is.
        run: as MLflow's entity.

    Raises:
        InputError: it has no ``config.yaml``, ``split.json`` or ``transfer_report.json``.
    """
    run_id, params = run.info.run_id, run.data.params
    with TemporaryDirectory() as name:
        folder = Path(name)
        config = yaml.safe_load(_artifact(store, run, "config.yaml", folder).read_text(encoding="utf-8"))
        split = _json(_artifact(store, run, "split.json", folder))
        report = _json(_artifact(store, run, "transfer_report.json", folder))
        search = fetch_artifact(store, run_id, "learning_rate.json", folder)
        found = None if search is None else _json(search)
    settings = flat({key: value for key, value in counted(config).items() if key not in _APART})
    monitor = config["metrics"]["monitor"]
    return RecordedRun(
        arm=params["init"],
        train_size=int(params["train_size"]),
        repeat=int(params["repeat"]),
        settings={key: value for key, value in settings.items() if key not in _NEVER_SCORED},
        init=report.get("strategy", {}),
        source=_source(report, config["init"].get("checkpoint")),
        subjects=split.get("sha256", ""),
        learning_rate=config["optim"]["learning_rate"] if config["init"].get("train", True) else None,
        search=None if found is None else _search(found),
        monitor=monitor,
        best_validation=metric_maximum(store, run_id, monitor),
    )


def _source(report: Mapping[str, Any], asked: str | None) -> WeightSource | None:
    if not report["source"]:
        return None
    return WeightSource(
        _short(asked or report["source"]), report["source_task"], report["source_digest"], report["loaded_share"]
    )


def _short(checkpoint: str) -> str:
    """A checkpoint as it tells the most: an address whole, a path by its file and the folder of its run."""
    if is_address(checkpoint):
        return checkpoint
    return "/".join([part for part in Path(checkpoint).parts if part != "checkpoints"][-2:])


def _search(found: Mapping[str, Any]) -> RateSearch:
    rates = tuple(float(candidate["learning_rate"]) for candidate in found["candidates"])
    return RateSearch(float(found["chosen"]), rates, int(found["steps"]))


def _artifact(store: Store, run: Any, name: str, folder: Path) -> Path:
    file = fetch_artifact(store, run.info.run_id, name, folder)
    if file is None:
        raise InputError(f"run {run.info.run_id} ({run.info.run_name}) is finished but has no {name}")
    return file


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))

"""What the finished runs of a sweep left in MLflow of their settings, their validation and their tables."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from lesionseg.errors import InputError
from lesionseg.report import RateSearch, RecordedRun, WeightSource, flat
from lesionseg.report.cases import Cell
from lesionseg.runs.plan import counted
from lesionseg.tracking import Store, is_address
from lesionseg.tracking.artifacts import Artifacts, artifacts_of

_CASES = {
    *("study", "subject", "session", "n_reference", "n_prediction", "detected_reference", "true_prediction"),
    *("lesion_sensitivity", "lesion_ppv", "lesion_f1", "dice", "false_positives", "false_positive_volume_ml"),
}
_APART = ("init", "train_size", "repeat")
_NEVER_SCORED = ("metrics.save_predictions",)
# Written in C it takes a tenth of the time, and a sweep may have a thousand runs.
_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, eq=False)
class RunRecord:
    """The small files of a finished run.

    Attributes:
        config: ``config.yaml``, resolved.
        split: ``split.json``.
        report: ``transfer_report.json`` without its list of tensors.
        n_values: of the network, weights and buffers; 0 if nobody counted.
        trained_share: of the network's values that the first step trains, 0 … 1; NaN if nobody counted.
        search: ``learning_rate.json``; None without a search.
        threshold: the probability from which a voxel is lesion in its masks.
    """

    config: Mapping[str, Any]
    split: Mapping[str, Any]
    report: Mapping[str, Any]
    n_values: int
    trained_share: float
    search: Mapping[str, Any] | None
    threshold: float


@dataclass(frozen=True)
class RunFiles:
    """A finished run's files, and its place in the grid.

    Attributes:
        title: how the run is called in messages.
        cell: init, train_size and repeat.
        artifacts: the files.
    """

    title: str
    cell: Cell
    artifacts: Artifacts


def files_of(store: Store, run: Any) -> RunFiles:
    """A finished run's files.

    Args:
        store: where it is.
        run: as MLflow's entity.
    """
    params = run.data.params
    cell = (params["init"], int(params["train_size"]), int(params["repeat"]))
    return RunFiles(f"run {run.info.run_id} ({run.info.run_name})", cell, artifacts_of(store, run))


def read_record(files: RunFiles) -> RunRecord:
    """The small files of a finished run.

    Raises:
        InputError: it has no ``config.yaml``, ``split.json`` or ``transfer_report.json``.
    """
    config = _read(files, "config.yaml", lambda file: yaml.load(file.read_bytes(), Loader=_YAML))
    split, report = _read(files, "split.json", _json), dict(_read(files, "transfer_report.json", _json))
    search, chosen = (_read_if_there(files, name, _json) for name in ("learning_rate.json", "threshold.json"))
    values = sum(tensor["count"] for tensor in report.pop("parameters", ()))
    trained = report.get("trained")
    return RunRecord(
        config=config,
        split=split,
        report=report,
        n_values=values,
        trained_share=nan if trained is None or not values else trained / values,
        search=search,
        threshold=float(config["metrics"]["threshold"] if chosen is None else chosen["threshold"]),
    )


def cases_of(files: RunFiles) -> pd.DataFrame:
    """What a comparison takes of a finished run's ``cases.csv``, with the run's place in the grid: init, train_size and
    repeat.

    Raises:
        InputError: it has none.
    """
    table: pd.DataFrame = _read(files, "cases.csv", _cases)
    arm, train_size, repeat = files.cell
    return table.assign(init=arm, train_size=train_size, repeat=repeat)


def table_of(files: RunFiles, name: str, columns: Sequence[str]) -> pd.DataFrame | None:
    """Some columns of another table of a finished run, its texts as categories; None if it has no such table."""
    types = {key: "category" for key in ("study", "side", "verdict") if key in columns}

    def read(file: Path) -> pd.DataFrame:
        return pd.read_csv(file, usecols=list(columns), dtype=types, keep_default_na=False)

    table: pd.DataFrame | None = _read_if_there(files, name, read)
    return table


def recorded_run(files: RunFiles, record: RunRecord, best_validation: float | None = None) -> RecordedRun:
    """A finished run's settings, first weights and learning rate.

    Args:
        files: of the run.
        record: what the small ones hold.
        best_validation: the highest value of the score that chose its checkpoint; None if it never had any.
    """
    config, (arm, train_size, repeat) = record.config, files.cell
    settings = flat({key: value for key, value in counted(config).items() if key not in _APART})
    return RecordedRun(
        arm=arm,
        train_size=train_size,
        repeat=repeat,
        settings={key: value for key, value in settings.items() if key not in _NEVER_SCORED},
        init=record.report.get("strategy", {}),
        source=_source(record.report, config["init"].get("checkpoint")),
        subjects=record.split.get("sha256", ""),
        learning_rate=config["optim"]["learning_rate"] if config["init"].get("train", True) else None,
        search=None if record.search is None else _search(record.search),
        monitor=config["metrics"]["monitor"],
        best_validation=best_validation,
    )


def _read(files: RunFiles, name: str, how: Callable[[Path], Any]) -> Any:
    found = _read_if_there(files, name, how)
    if found is None:
        raise InputError(f"{files.title} is finished but has no {name}")
    return found


def _read_if_there(files: RunFiles, name: str, how: Callable[[Path], Any]) -> Any:
    with files.artifacts.open(name) as file:
        return None if file is None else how(file)


def _cases(file: Path) -> pd.DataFrame:
    texts = dict.fromkeys(("study", "subject", "session"), object)
    table = pd.read_csv(file, dtype=texts, keep_default_na=False, na_values=[""], usecols=lambda key: key in _CASES)
    table["session"] = table["session"].fillna("")
    return table


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


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))

"""A sweep's finished runs, read back from MLflow: their records, their tables, and their stored predictions."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import ValidationError

from lesionseg.commands.plan import counted_settings, load_dataset
from lesionseg.config.sections import DatasetSection, PathsSection, TaskSection
from lesionseg.data.dataset import MaskFile, select_studies
from lesionseg.data.nifti import Array, read_mask
from lesionseg.errors import InputError
from lesionseg.io import progress_bar
from lesionseg.metrics import voxel_volume
from lesionseg.report.analysis import RunKey
from lesionseg.report.provenance import RunRecord
from lesionseg.report.text import joined
from lesionseg.tracking.artifacts import Artifacts, artifacts_of
from lesionseg.tracking.mlflow_store import HASH_TAG, Store, metric_maximum
from lesionseg.tracking.sweep import RunState, logged_grid, sweep_children, sweep_states

_MOST_NAMED = 6  # runs that are not finished and told one by one
_NOT_SETTINGS = ("init", "train_size", "repeat")
# Written in C it takes a tenth of the time, and a sweep may have a thousand runs.
_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
CASES = [
    *("study", "subject", "session", "n_reference", "n_prediction", "detected_reference", "true_prediction"),
    *("lesion_sensitivity", "lesion_ppv", "lesion_f1", "dice", "false_positives", "false_positive_volume_ml"),
    *("merged_lesions", "volume_reference_ml", "volume_prediction_ml"),  # of runs that tell
]


@dataclass(frozen=True)
class SweepRuns:
    """A sweep's runs."""

    finished: tuple[Any, ...]  # one for each arm, size and repeat, as MLflow's entities
    unfinished: tuple[str, ...]  # what is said of the others, a sentence each, or all in one where they are many
    arms: tuple[str, ...]  # every value of init that was asked for, in that order, whether or not it has a run
    # init, train_size and repeat of every run that was asked for, likewise; None where nobody wrote it down
    grid: tuple[RunKey, ...] | None


@dataclass(frozen=True)
class RunFiles:
    """A finished run's files, and its place in the grid."""

    title: str  # how the run is called in messages
    key: RunKey  # init, train_size and repeat
    artifacts: Artifacts  # the files

    @classmethod
    def of(cls, store: Store, run: Any) -> "RunFiles":
        """Return the files of a run, given as MLflow's entity."""
        title = f"run {run.info.run_id} ({run.info.run_name})"
        return cls(title, run_key(run), artifacts_of(store, run))

    def read(self, name: str, how: Callable[[Path], Any]) -> Any:
        """Return what a file holds; None if the run has no such file."""
        with self.artifacts.open(name) as file:
            return None if file is None else how(file)

    def need(self, name: str, how: Callable[[Path], Any]) -> Any:
        """Return what a file holds that every run has."""
        found = self.read(name, how)
        if found is None:
            raise InputError(f"{self.title} is finished but has no {name}")
        return found


def run_key(run: Any) -> RunKey:
    """Return init, train_size and repeat of a run, given as MLflow's entity."""
    params = run.data.params
    return params["init"], int(params["train_size"]), int(params["repeat"])


def finished_runs(store: Store, paths: PathsSection, sweep: str) -> SweepRuns:
    """Return the finished runs of a sweep, and what is known of the others."""
    children = sweep_children(store, sweep)
    if not children:
        raise InputError(f"sweep={sweep}: there is no run of that name in {store.uri}; see lesionseg ui")
    finished = [child for child in children if child.info.status == "FINISHED"]
    tasks = sorted({child.data.params["task"] for child in finished})
    if len(tasks) > 1:
        raise InputError(f"sweep={sweep}: holds several tasks ({', '.join(tasks)}); give each its own sweep")
    if not finished:
        raise InputError(f"sweep={sweep}: none of its {len(children)} runs is finished; start it again first")
    states = sweep_states(store, Path(paths.outputs).expanduser().resolve() / "runs" / sweep)
    entries = [state.entry for state in states if {"train_size", "repeat"} <= {*state.entry} and state.entry["init"]]
    keys = [(str(one["init"]), int(one["train_size"]), int(one["repeat"])) for one in entries]
    return SweepRuns(
        finished=tuple(_one_per_key(sweep, finished)),
        unfinished=tuple(_unfinished([state for state in states if state.state != "finished"])),
        arms=tuple(dict.fromkeys(arm for arm, _, _ in keys)),
        grid=tuple(dict.fromkeys(keys)) if logged_grid(store, sweep) else None,
    )


def read_record(files: RunFiles, best_validation: float | None = None) -> RunRecord:
    """Return what a finished run left besides its tables."""
    config = files.need("config.yaml", lambda file: yaml.load(file.read_bytes(), Loader=_YAML))
    split, report = files.need("split.json", _json), dict(files.need("transfer_report.json", _json))
    search, chosen = files.read("learning_rate.json", _json), files.read("threshold.json", _json)
    settings = {key: value for key, value in counted_settings(config).items() if key not in _NOT_SETTINGS}
    settings["metrics"] = {key: value for key, value in settings["metrics"].items() if key != "save_predictions"}
    arm, train_size, repeat = files.key
    return RunRecord(
        arm=arm,
        train_size=train_size,
        repeat=repeat,
        config=config,
        settings=_flat(settings),
        split=split,
        n_values=sum(tensor["count"] for tensor in report.pop("parameters", ())),
        transfer=report,
        search=search,
        threshold=float(config["metrics"]["threshold"] if chosen is None else chosen["threshold"]),
        best_validation=best_validation,
    )


def best_validation(store: Store, run: Any, record: RunRecord) -> float | None:
    """Return the highest value that the monitored score of a run ever had."""
    return metric_maximum(store, run.info.run_id, record.monitor)


def read_cases(files: RunFiles, columns: Sequence[str] | None = tuple(CASES)) -> pd.DataFrame:
    """Return a finished run's ``cases.csv`` with the run's place in the grid: init, train_size and repeat."""

    def read(file: Path) -> pd.DataFrame:
        wanted = None if columns is None else lambda key: key in columns
        texts = dict.fromkeys(("study", "subject", "session"), object)
        with file.open(encoding="utf-8") as stream:
            header = stream.readline().strip().split(",")
        undefined = {key: [""] if key in texts else ["", "nan"] for key in header}  # a subject may be called nan
        return pd.read_csv(file, dtype=texts, keep_default_na=False, na_values=undefined, usecols=wanted)

    table: pd.DataFrame = files.need("cases.csv", read)
    arm, train_size, repeat = files.key
    session = table["session"].fillna("")
    return table.assign(session=session, init=arm, train_size=train_size, repeat=repeat)


def read_rows(files: RunFiles, name: str, columns: Sequence[str]) -> pd.DataFrame | None:
    """Return some columns of another table of a run, its texts as categories; None if it has no such table."""
    types = {key: "category" for key in ("study", "side", "verdict") if key in columns}
    table: pd.DataFrame | None = files.read(
        name, lambda file: pd.read_csv(file, usecols=list(columns), dtype=types, keep_default_na=False)
    )
    return table


def sections_of(files: RunFiles) -> tuple[DatasetSection, TaskSection]:
    """Return what a run was made on, and for which task."""
    try:
        content = files.read("config.yaml", lambda file: yaml.load(file.read_bytes(), Loader=_YAML)) or {}
        return DatasetSection.model_validate(content["dataset"]), TaskSection.model_validate(content["task"])
    except (KeyError, TypeError, ValidationError) as error:
        raise InputError(
            f"{files.title}: its config.yaml is missing or of another version of lesionseg "
            f"({str(error).splitlines()[0]}); train it again"
        ) from error


@dataclass(frozen=True)
class StoredPrediction:
    """A test study of a finished run: its reference mask as it is now, and the stored prediction."""

    run_id: str  # in MLflow
    key: RunKey  # init, train_size and repeat of the run
    case: Mapping[str, Any]  # the study's row of the run's ``cases.csv``
    reference: Array  # (X, Y, Z), 0 and 1
    prediction: Array  # likewise
    spacing: tuple[float, float, float]  # of both, mm


def stored_predictions(
    store: Store, runs: Sequence[Any], moved: DatasetSection | None, changed: list[str]
) -> Iterator[StoredPrediction]:
    """Give every stored test prediction of some runs, study by study, so that each reference mask is read once."""
    files = {run.info.run_id: RunFiles.of(store, run) for run in runs}
    cases = {run_id: read_cases(one, None).set_index("study", drop=False) for run_id, one in files.items()}
    masks, faults = {}, []
    for run_id, one in files.items():
        masks[run_id] = _stored_masks(one)
        if not masks[run_id]:
            faults.append(
                f"{one.title}: kept no predictions; train it again with force=true and metrics.save_predictions=true"
            )
            continue
        lacking = [study for study in cases[run_id]["study"] if study not in masks[run_id]]
        faults += [f"{one.title}: has no stored mask of {study}; train it again with force=true" for study in lacking]
    if faults:
        raise InputError(faults)
    dataset, task = sections_of(next(iter(files.values())))
    wanted = list(dict.fromkeys(name for found in masks.values() for name in found))
    references = _reference_masks(moved or dataset, task, wanted)
    with progress_bar("Scoring", "study", len(references)) as shown:
        for name, file in references.items():
            reference, grid = read_mask(file)
            volume = float(reference.sum()) * voxel_volume(grid.spacing) / 1000
            for run_id, one in files.items():
                if name not in masks[run_id]:
                    continue
                with one.artifacts.open(masks[run_id][name]) as stored:
                    assert stored is not None, "it was listed"
                    prediction, other = read_mask(MaskFile(stored))
                if not grid.same_as(other):
                    raise InputError(f"{file.path}: lies on another grid than the stored prediction of {name}")
                case: Any = cases[run_id].loc[name].to_dict()
                if abs(case["volume_reference_ml"] - volume) > 1e-6 * max(volume, 1) and name not in changed:
                    changed.append(name)
                yield StoredPrediction(run_id, one.key, case, reference, prediction, grid.spacing)
            shown.update()


def _stored_masks(files: RunFiles) -> dict[str, str]:
    """Return the name of each stored prediction by study."""
    artifacts = files.artifacts
    if artifacts.folder is not None:
        names = [f"predictions/{file.name}" for file in sorted((artifacts.folder / "predictions").glob("*"))]
    else:
        assert artifacts.store is not None, "what does not lie here is downloaded"
        names = [entry.path for entry in artifacts.store.client.list_artifacts(artifacts.run_id, "predictions")]
    return {Path(name).name.partition("_label-")[0]: name for name in names}


def _reference_masks(dataset: DatasetSection, task: TaskSection, wanted: Sequence[str]) -> dict[str, MaskFile]:
    found = load_dataset(dataset)
    masks = {study.name: study.mask for study in select_studies(found, task.channels, task.target)}
    lacking = [name for name in wanted if masks.get(name) is None]
    if lacking:
        raise InputError(
            f"{dataset.name} ({found.root}): has no mask {task.target!r} of {', '.join(lacking)}, which the runs were "
            "tested on; where the scans have moved, give dataset=... dataset.root=..."
        )
    return {name: mask for name in wanted if (mask := masks[name]) is not None}


def _unfinished(states: Sequence[RunState]) -> list[str]:
    if len(states) <= _MOST_NAMED:
        return [f"{state.entry['name']} is {state.state} and not in the table" for state in states]
    counts = Counter(state.state for state in states)
    told = joined(f"{count} {word}" for word, count in counts.items())
    return [f"{len(states)} runs are not finished and not in the table: {told}"]


def _one_per_key(sweep: str, runs: Sequence[Any]) -> list[Any]:
    """Return of runs with the same configuration, repeated by force, the latest."""
    found: dict[RunKey, dict[str, Any]] = {}
    for run in runs:
        found.setdefault(run_key(run), {})[run.data.tags[HASH_TAG]] = run
    faults = []
    for key, of_key in found.items():
        if len(of_key) > 1:
            names = {name for run in of_key.values() for name in run.data.params}
            differing = sorted(n for n in names if len({run.data.params.get(n) for run in of_key.values()}) > 1)
            faults.append(
                f"sweep={sweep}: holds {len(of_key)} different finished runs of init={key[0]}, train_size={key[1]}, "
                f"repeat={key[2]} (they differ in {', '.join(differing) or 'their config.yaml'}); give each "
                "configuration a sweep of its own, or delete the runs that do not belong"
            )
    if faults:
        raise InputError(faults)
    return [run for of_key in found.values() for run in of_key.values()]


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, ``{"a": {"b": 1}}`` as ``{"a.b": 1}``; without None and empty mappings."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            found[f"{prefix}{key}"] = value
    return found


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))

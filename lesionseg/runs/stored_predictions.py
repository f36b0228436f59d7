"""The masks that a sweep's runs kept of their test studies, held against the reference masks once more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import ValidationError

from lesionseg.config.sections import DatasetSection, TaskSection
from lesionseg.data.grid import Array
from lesionseg.data.selection import select_studies
from lesionseg.data.study import MaskFile
from lesionseg.data.volumes import read_mask
from lesionseg.errors import InputError
from lesionseg.metrics import voxel_volume
from lesionseg.runs.cohort import load_cohort
from lesionseg.runs.progress import bar
from lesionseg.tracking import Store, fetch_folder
from lesionseg.tracking.artifacts import artifacts_of


@dataclass(frozen=True)
class StoredRun:
    """A finished run and the files that it left.

    Attributes:
        run_id: in MLflow.
        place: init, train_size and repeat.
        cases: its ``cases.csv``.
        predictions: a study's name to its stored mask.
    """

    run_id: str
    place: dict[str, Any]
    cases: pd.DataFrame
    predictions: dict[str, Path]


Judge = Callable[[StoredRun, Any, Array, Array, tuple[float, float, float]], None]
"""Takes a run, its row of ``cases.csv``, reference and prediction, and the spacing in mm."""


def fetch_predictions(store: Store, runs: Sequence[Any], folder: Path) -> list[StoredRun]:
    """Every run's table of cases and its masks, which are read in place where they lie on this machine.

    Args:
        store: where the runs are.
        runs: as MLflow's entities.
        folder: for what is fetched; it must be there as long as the masks are wanted.

    Raises:
        InputError: runs that kept no predictions, or not all.
    """
    stored, faults = [], []
    with bar("Fetching predictions", "run", len(runs)) as shown:
        for run in runs:
            run_id, params = run.info.run_id, run.data.params
            files = _masks(store, run, folder / run_id)
            with artifacts_of(store, run).open("cases.csv") as cases:
                table = None if cases is None else _read_cases(cases)
            if not files or table is None:
                faults.append(
                    f"run {run_id} ({run.info.run_name}): kept no predictions; train it again with force=true and "
                    "metrics.save_predictions=true"
                )
                continue
            masks = {file.name.partition("_label-")[0]: file for file in files}
            faults += [
                f"run {run_id} ({run.info.run_name}): has no stored mask of {study}; train it again with force=true"
                for study in table["study"]
                if study not in masks
            ]
            place = {"init": params["init"], **{key: int(params[key]) for key in ("train_size", "repeat")}}
            stored.append(StoredRun(run_id, place, table, masks))
            shown.update()
    if faults:
        raise InputError(faults)
    return stored


def sections_of(store: Store, run: Any) -> tuple[DatasetSection, TaskSection]:
    """What a run was made on, and for which task.

    Raises:
        InputError: its ``config.yaml`` is missing or of another version.
    """
    try:
        with artifacts_of(store, run).open("config.yaml") as file:
            content = yaml.safe_load(file.read_text(encoding="utf-8")) if file else {}
        return DatasetSection.model_validate(content["dataset"]), TaskSection.model_validate(content["task"])
    except (KeyError, TypeError, ValidationError) as error:
        raise InputError(
            f"run {run.info.run_id} ({run.info.run_name}): its config.yaml is missing or of another version of "
            f"lesionseg ({str(error).splitlines()[0]}); train it again"
        ) from error


def reference_masks(dataset: DatasetSection, task: TaskSection, stored: Sequence[StoredRun]) -> dict[str, MaskFile]:
    """The reference mask of every study that a run was tested on.

    Raises:
        InputError: some are not there.
    """
    cohort = load_cohort(dataset)
    masks = {study.name: study.mask for study in select_studies(cohort, task.channels, task.target)}
    wanted = list(dict.fromkeys(name for run in stored for name in run.predictions))
    lacking = [name for name in wanted if masks.get(name) is None]
    if lacking:
        raise InputError(
            f"{dataset.name} ({cohort.root}): has no mask {task.target!r} of {', '.join(lacking)}, which the runs were "
            "tested on; where the scans have moved, give dataset=... dataset.root=..."
        )
    return {name: mask for name in wanted if (mask := masks[name]) is not None}


def judge_stored(stored: Sequence[StoredRun], references: dict[str, MaskFile], judge: Judge) -> list[str]:
    """Hold every stored mask against its reference, study by study, so that each reference is read once.

    Returns:
        A sentence where reference masks are not those that the runs were scored against, else nothing.

    Raises:
        InputError: a reference lies on another grid than a stored mask.
    """
    changed: list[str] = []
    faults: list[str] = []
    with bar("Scoring", "study", len(references)) as shown:
        for name, file in references.items():
            reference, grid = read_mask(file)
            volume = float(reference.sum()) * voxel_volume(grid.spacing) / 1000
            for run in stored:
                if name not in run.predictions:
                    continue
                prediction, other = read_mask(MaskFile(run.predictions[name]))
                if not grid.same_as(other):
                    faults.append(f"{file.path}: lies on another grid than the stored prediction of {name}")
                    break
                case = run.cases[run.cases["study"] == name].iloc[0]
                if abs(case["volume_reference_ml"] - volume) > 1e-6 * max(volume, 1) and name not in changed:
                    changed.append(name)
                judge(run, case, reference, prediction, grid.spacing)
            shown.update()
    if faults:
        raise InputError(faults)
    return [_told(changed)] if changed else []


def _masks(store: Store, run: Any, folder: Path) -> list[Path]:
    here = artifacts_of(store, run).folder
    if here is not None:
        return sorted(file for file in (here / "predictions").rglob("*") if file.is_file())
    return fetch_folder(store, run.info.run_id, "predictions", folder)


def _read_cases(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, dtype={"subject": str, "session": str}, keep_default_na=False, na_values=[""])


def _told(changed: Sequence[str]) -> str:
    return (
        f"The reference masks of {', '.join(changed)} have another volume than those that the runs were scored "
        "against: these scores are of the masks as they are now."
    )

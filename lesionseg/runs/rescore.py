"""Score a sweep's stored predictions under other criteria, without running a model."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import pandas as pd
import yaml
from pydantic import ValidationError

from lesionseg.build import build
from lesionseg.config.schema import EvaluateConfig
from lesionseg.config.sections import DatasetSection, TaskSection
from lesionseg.data.files import written_whole
from lesionseg.data.selection import select_studies
from lesionseg.data.study import MaskFile
from lesionseg.data.volumes import read_mask
from lesionseg.errors import InputError
from lesionseg.metrics import UNDEFINED_POLICY, Criterion, score_criteria, voxel_volume
from lesionseg.report.ranking import rank_arms
from lesionseg.runs.cohort import load_cohort
from lesionseg.runs.plan import store_of
from lesionseg.runs.progress import bar
from lesionseg.runs.scoring import criteria_of, write_csv
from lesionseg.runs.sweep import finished_runs
from lesionseg.runs.writable import check_writable
from lesionseg.tracking import Run, Store, fetch_artifact, fetch_folder, sweep_parent

OWN = "task"  # the name of the criterion that the runs were scored by


@dataclass(frozen=True)
class _StoredRun:
    """A finished run and the files that it left.

    Attributes:
        place: init, train_size and repeat.
        cases: its ``cases.csv``.
        predictions: a study's name to its stored mask.
    """

    place: dict[str, Any]
    cases: pd.DataFrame
    predictions: dict[str, Path]


def rescore(config: EvaluateConfig) -> int:
    """Score every stored test prediction of a sweep's finished runs under the task's own and the configured criteria,
    and tell whether the arms' ranking depends on the criterion.

    Returns:
        0.

    Raises:
        InputError: no such sweep (see `finished_runs`), runs that kept no predictions, or reference masks that
            are not there.
    """
    assert config.sweep is not None, "the schema asks for it"
    output = Path(config.output).expanduser().resolve() / config.sweep
    check_writable("output", output)
    store = store_of(config.tracking, config.paths, create=False)
    runs = finished_runs(store, config.sweep)
    with tempfile.TemporaryDirectory() as folder:
        stored = _fetch(store, runs.finished, Path(folder))
        dataset, task = _sections(store, runs.finished[0], Path(folder))
        references = _references(config.dataset or dataset, task, stored)
        smallest = task.min_lesion_volume if config.min_volume is None else config.min_volume
        criteria = {OWN: build(task.matching, Criterion), **criteria_of(config.metrics)}
        rows, changed = _score(stored, references, criteria, smallest)
    ranking = rank_arms(pd.DataFrame(rows))
    print(ranking.to_text())
    notes = [
        *runs.unfinished,
        *([_told(changed)] if changed else []),
        f"A lesion counts from {smallest:g} mm³, unless a criterion has a minimum of its own; the stored masks were "
        f"made without components below {task.min_lesion_volume:g} mm³. {OWN} is the criterion of the runs "
        "themselves. Means over patients with reference lesions; whether a difference is more than chance, lesionseg "
        "compare tells.",
        UNDEFINED_POLICY,
    ]
    print("\n" + "\n".join(fill(note, 110) for note in notes))
    files = [write_csv(output / "criteria.csv", rows), output / "criteria.md"]
    with written_whole(files[1]) as partial:
        text = [f"# {config.sweep} under {len(criteria)} criteria", ranking.to_text("github"), *notes]
        partial.write_text("\n\n".join(text) + "\n", encoding="utf-8")
    parent = Run(store, sweep_parent(store, config.sweep))
    for file in files:
        parent.log_file(file, "criteria")
    print(f"Written to {output} and to the sweep's parent run in MLflow (lesionseg ui sweep={config.sweep})")
    return 0


def _fetch(store: Store, runs: Sequence[Any], folder: Path) -> list[_StoredRun]:
    """Every run's table of cases and its masks."""
    stored, faults = [], []
    with bar("Fetching predictions", "run", len(runs)) as shown:
        for run in runs:
            run_id, params = run.info.run_id, run.data.params
            files = fetch_folder(store, run_id, "predictions", folder / run_id)
            cases = fetch_artifact(store, run_id, "cases.csv", folder / run_id)
            if not files or cases is None:
                faults.append(
                    f"run {run_id} ({run.info.run_name}): kept no predictions; train it again with force=true and "
                    "metrics.save_predictions=true"
                )
                continue
            table = pd.read_csv(cases, dtype={"subject": str, "session": str}, keep_default_na=False, na_values=[""])
            masks = {file.name.partition("_label-")[0]: file for file in files}
            faults += [
                f"run {run_id} ({run.info.run_name}): has no stored mask of {study}; train it again with force=true"
                for study in table["study"]
                if study not in masks
            ]
            place = {"init": params["init"], **{key: int(params[key]) for key in ("train_size", "repeat")}}
            stored.append(_StoredRun(place, table, masks))
            shown.update()
    if faults:
        raise InputError(faults)
    return stored


def _sections(store: Store, run: Any, folder: Path) -> tuple[DatasetSection, TaskSection]:
    """What the sweep was run on, and for which task."""
    file = fetch_artifact(store, run.info.run_id, "config.yaml", folder / run.info.run_id)
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) if file else {}
        return DatasetSection.model_validate(content["dataset"]), TaskSection.model_validate(content["task"])
    except (KeyError, TypeError, ValidationError) as error:
        raise InputError(
            f"run {run.info.run_id} ({run.info.run_name}): its config.yaml is missing or of another version of "
            f"lesionseg ({str(error).splitlines()[0]}); train it again"
        ) from error


def _references(dataset: DatasetSection, task: TaskSection, stored: Sequence[_StoredRun]) -> dict[str, MaskFile]:
    """The reference mask of every study that a run was tested on."""
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


def _score(
    stored: Sequence[_StoredRun],
    references: dict[str, MaskFile],
    criteria: dict[str, Criterion],
    min_volume_mm3: float,
) -> tuple[list[dict[str, Any]], list[str]]:
    """A row per run, study and criterion, and the studies whose reference mask is not the one that was scored."""
    rows: list[dict[str, Any]] = []
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
                scores = score_criteria(reference, prediction, grid.spacing, criteria, min_volume_mm3=min_volume_mm3)
                place = {**run.place, "study": name, "subject": case["subject"], "session": case["session"]}
                rows += [{**place, "criterion": rule, **asdict(found)} for rule, found in scores.items()]
            shown.update()
    if faults:
        raise InputError(faults)
    return rows, changed


def _told(changed: Sequence[str]) -> str:
    return (
        f"The reference masks of {', '.join(changed)} have another volume than those that the runs were scored "
        "against: these scores are of the masks as they are now."
    )

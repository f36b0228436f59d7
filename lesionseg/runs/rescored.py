"""A sweep's test cases under another rule than its runs', from the predictions that these kept."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lesionseg.build import build
from lesionseg.config.sections import DatasetSection
from lesionseg.data.grid import Array
from lesionseg.errors import InputError
from lesionseg.metrics import Criterion, MaskPair
from lesionseg.metrics.lesionwise import JudgedLesions, judge_lesions
from lesionseg.runs.recorded import files_of, read_record
from lesionseg.runs.stored_predictions import (
    StoredRun,
    fetch_predictions,
    judge_stored,
    reference_masks,
    sections_of,
)
from lesionseg.tracking import Store

OWN = "task"  # how the criterion of the runs themselves is called
Tables = Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]
"""By run id: the table of cases and that of lesions."""


def rule_of(store: Store, run: Any, criterion: str | Mapping[str, Any] | None) -> Criterion:
    """The criterion that is asked for: described, or named among those of a run, or the run's own.

    Raises:
        InputError: the run has none of that name.
    """
    config = read_record(files_of(store, run)).config
    if isinstance(criterion, Mapping):
        return _built(criterion)
    if criterion is None or criterion == OWN:
        return _built(config["task"]["matching"])
    known = config["metrics"]["criteria"]
    if criterion not in known:
        raise InputError(
            f"criterion={criterion}: the runs know {OWN}, {', '.join(known)}; name one of these, or describe another, "
            "as criterion={_target_:lesionseg.metrics.AnyOverlap,min_fraction:0.5}"
        )
    return _built(known[criterion])


def rescored_tables(
    store: Store,
    runs: Sequence[Any],
    rule: Criterion,
    min_volume_mm3: float | None,
    moved: DatasetSection | None = None,
) -> tuple[Tables, list[str]]:
    """Every run's cases and lesions under another rule; voxelwise scores, which no rule changes, stay as they were.

    Args:
        store: where the runs are.
        runs: as MLflow's entities.
        rule: the criterion.
        min_volume_mm3: smallest lesion that counts, where the criterion does not say so itself; None: the task's.
        moved: where the scans are now; None: where they were.

    Returns:
        The tables, and what is to be said of them, a sentence each.

    Raises:
        InputError: runs that kept no predictions, or reference masks that are not there.
    """
    cases: dict[str, list[dict[str, Any]]] = {run.info.run_id: [] for run in runs}
    lesions: dict[str, list[pd.DataFrame]] = {run.info.run_id: [] for run in runs}
    dataset, task = sections_of(store, runs[0])
    smallest = task.min_lesion_volume if min_volume_mm3 is None else min_volume_mm3

    def judge(
        run: StoredRun, case: Any, reference: Array, prediction: Array, spacing: tuple[float, float, float]
    ) -> None:
        judged = judge_lesions(MaskPair.of(reference, prediction, spacing), rule, smallest)
        cases[run.run_id].append({**case, **_counts(judged), **run.place})
        lesions[run.run_id].append(_lesions(str(case["study"]), judged))

    with tempfile.TemporaryDirectory() as folder:
        stored = fetch_predictions(store, runs, Path(folder))
        remarks = judge_stored(stored, reference_masks(moved or dataset, task, stored), judge)
    if smallest < task.min_lesion_volume:
        remarks.append(
            f"The stored masks were made without components below {task.min_lesion_volume:g} mm³: smaller predicted "
            "lesions are not in them."
        )
    return {key: (_texts(pd.DataFrame(rows)), pd.concat(lesions[key])) for key, rows in cases.items()}, remarks


def _counts(judged: JudgedLesions) -> dict[str, float]:
    """The columns of ``cases.csv`` that a rule decides."""
    scores = judged.scores()
    ratios = {f"lesion_{name}": getattr(scores, name) for name in ("sensitivity", "ppv", "f1", "f1_counts")}
    counts = ("n_reference", "n_prediction", "detected_reference", "true_prediction", "false_positives")
    return {**ratios, **{name: getattr(scores, name) for name in (*counts, "false_positive_volume_ml")}}


def _lesions(study: str, judged: JudgedLesions) -> pd.DataFrame:
    overlaps, verdicts = judged.overlaps, judged.verdicts
    sides = (
        ("reference", overlaps.reference_sizes, verdicts.reference_detected, ("missed", "detected")),
        ("prediction", overlaps.prediction_sizes, verdicts.prediction_true, ("false", "true")),
    )
    return pd.concat(
        pd.DataFrame(
            {
                "study": study,
                "side": side,
                "verdict": [words[int(hit)] for hit in hits],
                "volume_mm3": sizes * overlaps.voxel_volume,
            }
        )
        for side, sizes, hits, words in sides
    )


def _texts(cases: pd.DataFrame) -> pd.DataFrame:
    return cases.assign(session=cases["session"].fillna(""))


def _built(spec: Mapping[str, Any]) -> Criterion:
    try:
        criterion: Criterion = build(spec, Criterion)
    except ValueError as error:
        raise InputError(f"criterion: {error}") from error
    return criterion

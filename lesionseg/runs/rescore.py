"""Score a sweep's stored predictions under other criteria, without running a model."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import fill
from typing import Any

import pandas as pd

from lesionseg.build import build
from lesionseg.config.schema import EvaluateConfig
from lesionseg.data.files import written_whole
from lesionseg.data.grid import Array
from lesionseg.data.study import MaskFile
from lesionseg.metrics import UNDEFINED_POLICY, Criterion, score_criteria
from lesionseg.report.ranking import rank_arms
from lesionseg.runs.plan import store_of
from lesionseg.runs.scoring import criteria_of, write_csv
from lesionseg.runs.stored_predictions import (
    StoredRun,
    fetch_predictions,
    judge_stored,
    reference_masks,
    sections_of,
)
from lesionseg.runs.sweep import finished_runs
from lesionseg.runs.writable import check_writable
from lesionseg.tracking import Run, sweep_parent

OWN = "task"  # the name of the criterion that the runs were scored by


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
        stored = fetch_predictions(store, runs.finished, Path(folder))
        dataset, task = sections_of(store, runs.finished[0])
        references = reference_masks(config.dataset or dataset, task, stored)
        smallest = task.min_lesion_volume if config.min_volume is None else config.min_volume
        criteria = {OWN: build(task.matching, Criterion), **criteria_of(config.metrics)}
        rows, remarks = _score(stored, references, criteria, smallest)
    ranking = rank_arms(pd.DataFrame(rows))
    print(ranking.to_text())
    notes = [
        *runs.unfinished,
        *remarks,
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


def _score(
    stored: Sequence[StoredRun],
    references: dict[str, MaskFile],
    criteria: dict[str, Criterion],
    min_volume_mm3: float,
) -> tuple[list[dict[str, Any]], list[str]]:
    """A row per run, study and criterion, and what is to be said of the reference masks."""
    rows: list[dict[str, Any]] = []

    def judge(
        run: StoredRun, case: Any, reference: Array, prediction: Array, spacing: tuple[float, float, float]
    ) -> None:
        scores = score_criteria(reference, prediction, spacing, criteria, min_volume_mm3=min_volume_mm3)
        place = {**run.place, **{key: case[key] for key in ("study", "subject", "session")}}
        rows.extend({**place, "criterion": rule, **asdict(found)} for rule, found in scores.items())

    return rows, judge_stored(stored, references, judge)

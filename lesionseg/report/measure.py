"""Arms over training-set sizes: means, paired differences, and what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import nan
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from lesionseg.report.cases import (
    PRIMARY,
    SCORES,
    STUDY,
    Cell,
    Score,
    Tables,
    list_missing,
    patient_tables,
    tidy_cases,
)
from lesionseg.report.pairs import paired
from lesionseg.report.results import ArmMean, PatientScore, RepeatMean, Results, SizeDifference, WithoutLesions
from lesionseg.stats import (
    ClusteredRatio,
    clustered_ratio,
    crossed_difference,
    holm,
    mixed_model,
    sign_flip_test,
    summarise,
    wilcoxon_test,
)

MOST_CELLS = 1000
"""Patients × repeats of a test above which there is no mixed model: its time grows with their square (0.3 s there)."""
_MOST_WORK = 2e7  # sum of these squares over all tests, about 7 s
_MANY_TESTS = 50  # above, a sign-flip test that draws its patterns draws a tenth of them
_COUNTS: Mapping[Score, tuple[str, str]] = {
    "lesion_sensitivity": ("detected_reference", "n_reference"),
    "lesion_ppv": ("true_prediction", "n_prediction"),
}


def measure(cases: pd.DataFrame, arms: Sequence[str], grid: Sequence[Cell] | None = None) -> tuple[Results, Tables]:
    """The numbers of a comparison and the tables of patients that they rest on.

    Arguments and errors are those of `compare`, which adds the sentences.
    """
    if not arms or len(set(arms)) != len(arms):
        raise ValueError(f"A comparison takes one arm or several different ones, found {', '.join(arms) or 'none'}.")
    kept = tidy_cases(cases, arms)
    tables = patient_tables(kept)
    present = tuple(arm for arm in arms if any(arm == other for other, _ in tables))
    sizes = tuple(sorted({size for _, size in tables}))
    rows = [(size, score) for size in sizes for score in SCORES]
    groups: dict[Any, pd.DataFrame] = dict(iter(kept.groupby(["init", "train_size"])))
    cells = [(arm, size, score) for size, score in rows for arm in present if (arm, size) in tables]
    differences, n_tests = _with_holm(_differences(tables, present, rows if arms[0] in present else []))
    results = Results(
        arms=present,
        sizes=sizes,
        repeats=tuple(int(repeat) for repeat in sorted(kept["repeat"].unique())),
        n_patients=kept["subject"].nunique(),
        n_patients_with_lesions=kept.loc[kept["n_reference"] > 0, "subject"].nunique(),
        n_studies=len(kept[STUDY].drop_duplicates()),
        n_inconsistent=int((kept.groupby(STUDY)["n_reference"].nunique(dropna=False) > 1).sum()),
        means=tuple(
            _arm_mean(tables[arm, size][score], groups[arm, size], arm, size, score) for arm, size, score in cells
        ),
        differences=differences,
        n_tests=n_tests,
        without_lesions=_without_lesions(kept, present),
        missing=list_missing(kept, arms, grid),
        patients=tuple(
            PatientScore(arm, size, score, str(patient), float(value))
            for arm, size, score in cells
            for patient, value in tables[arm, size][score].mean(axis=1).items()
        ),
    )
    return results, tables


def _arm_mean(table: pd.DataFrame, rows: pd.DataFrame, arm: str, size: int, score: Score) -> ArmMean:
    summary = summarise(table.mean(axis=1).to_numpy())
    repeats = table.mean(axis=0).dropna()
    margin = float(stdtrit(summary.n - 1, 0.975)) * summary.standard_error if summary.n > 1 else nan
    return ArmMean(
        arm=arm,
        train_size=size,
        score=score,
        mean=summary.mean,
        standard_error=summary.standard_error,
        low=summary.mean - margin,
        high=summary.mean + margin,
        n_patients=summary.n,
        n_undefined=summary.n_undefined,
        by_repeat=tuple(RepeatMean(int(str(repeat)), float(mean)) for repeat, mean in repeats.items()),
        pooled=_pooled(rows, score),
    )


def _pooled(rows: pd.DataFrame, score: Score) -> ClusteredRatio | None:
    """All patients' lesions together, of the studies with a reference lesion; repeats averaged within the patient."""
    columns = list(_COUNTS.get(score, ()))
    if not columns or not set(columns) <= set(rows.columns):
        return None
    with_lesions = rows[rows["n_reference"] > 0]
    counts = with_lesions.groupby(["subject", "repeat"])[columns].sum().groupby("subject").mean()
    return clustered_ratio(*(counts[column].to_numpy(np.float64) for column in columns))


def _differences(tables: Tables, arms: Sequence[str], rows: Sequence[tuple[int, Score]]) -> list[SizeDifference]:
    reference = arms[0]
    pairs = {
        (arm, size, score): paired(tables[reference, size][score], tables[arm, size][score])
        for size, score in rows
        for arm in arms[1:]
        if (arm, size) in tables and (reference, size) in tables
    }
    n_cells = [table.size for table in pairs.values()]
    small = sum(cells**2 for cells in n_cells) <= _MOST_WORK and max(n_cells, default=0) <= MOST_CELLS
    n_resamples = 100_000 if len(pairs) <= _MANY_TESTS else 10_000
    return [
        SizeDifference(
            arm=arm,
            reference=reference,
            train_size=size,
            score=score,
            difference=crossed_difference(table),
            holm_p=nan,
            sign_flip=sign_flip_test(table, n_resamples=n_resamples),
            wilcoxon=wilcoxon_test(table),
            mixed=mixed_model(table) if small else None,
        )
        for (arm, size, score), table in pairs.items()
    ]


def _with_holm(differences: Sequence[SizeDifference]) -> tuple[tuple[SizeDifference, ...], int]:
    """With their adjusted p, and how many tests it is over."""
    p_values = [row.difference.p if row.score in PRIMARY else nan for row in differences]
    adjusted = holm(p_values)
    rows = (replace(row, holm_p=float(p)) for row, p in zip(differences, adjusted.p, strict=True))
    return tuple(rows), adjusted.n_tests


def _without_lesions(cases: pd.DataFrame, arms: Sequence[str]) -> tuple[WithoutLesions, ...]:
    rows = cases[~(cases["n_reference"] > 0)]
    marked = rows.assign(marked=(rows["false_positives"] > 0).astype(float))
    columns = ["false_positives", "false_positive_volume_ml", "marked"]
    by_study = marked.groupby(["init", "train_size", *STUDY])[columns].mean()
    cells = by_study.groupby(level=["train_size", "init"])
    means, counts = cells.mean(), cells.size()
    order = sorted(means.index, key=lambda cell: (cell[0], arms.index(cell[1])))
    return tuple(
        WithoutLesions(
            arm=str(arm),
            train_size=int(size),
            n_studies=int(counts[size, arm]),
            **{column: float(means.loc[(size, arm), column]) for column in columns},
        )
        for size, arm in order
    )

"""The long table of test cases: one row per run and test study."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Literal

import numpy as np
import pandas as pd

Score = Literal["lesion_sensitivity", "lesion_ppv", "lesion_f1", "dice"]

SCORES: tuple[Score, ...] = ("lesion_sensitivity", "lesion_ppv", "lesion_f1", "dice")
SCORE_NAMES: dict[Score, str] = {
    "lesion_sensitivity": "sensitivity",
    "lesion_ppv": "PPV",
    "lesion_f1": "F1",
    "dice": "Dice",
}

PRIMARY: tuple[Score, ...] = ("lesion_sensitivity", "lesion_ppv", "lesion_f1")
"""The scores that the comparison turns on: Holm's adjustment is over their tests, label savings are read from them."""

Tables = Mapping[tuple[str, int], Mapping[Score, pd.DataFrame]]
"""By arm and size, then score: a table of patients (index) and repeats (columns)."""
Cell = tuple[str, int, int]
"""init, train_size and repeat of a run."""

RUN = ["init", "train_size", "repeat"]
STUDY = ["subject", "session"]
_MEASURED = ["n_reference", *SCORES, "false_positives", "false_positive_volume_ml"]


def tidy_cases(cases: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """The rows of the arms that are compared, checked and with one type per column.

    Args:
        cases: a row per run and test study, with the columns init, train_size, repeat, subject, session (empty
            where a subject has one only) and those of `lesionseg.metrics.CaseScores`.
        arms: which values of init to keep.

    Raises:
        ValueError: if a column is missing, no arm has a row, train_size or repeat is no whole number, or a study
            is there twice in one run; with all that was found.
    """
    lacking = [column for column in [*RUN, *STUDY, *_MEASURED] if column not in cases.columns]
    if lacking:
        raise ValueError(f"The table of cases lacks the columns {', '.join(lacking)}.")
    kept = cases[cases["init"].isin(list(arms))].copy()
    if kept.empty:
        there = ", ".join(sorted(map(str, cases["init"].unique()))) or "none"
        raise ValueError(f"No case of the arms {', '.join(arms)}; the arms in the table: {there}.")
    for column in ("train_size", "repeat"):
        kept[column] = _whole_numbers(kept[column])
    for column in STUDY:
        kept[column] = kept[column].astype(object).where(kept[column].notna(), "").astype(str)
    twice = kept[kept.duplicated([*RUN, *STUDY])]
    if not twice.empty:
        first = twice.iloc[0]
        raise ValueError(
            f"{len(twice)} rows repeat a study of the same run, the first: {run_name(*first[RUN])}, "
            f"{study_name(*first[STUDY])}. Keep one run per init, train_size and repeat."
        )
    return kept.reset_index(drop=True)


def patient_tables(cases: pd.DataFrame) -> Tables:
    """Each arm's and size's scores: a table of patients (index, sorted) and repeats (columns, ascending) per score.

    A patient's sessions with reference lesions are averaged first; NaN is a patient without such a session, or
    one whom the run lacks.

    Args:
        cases: as from `tidy_cases`.
    """
    keys = ["init", "train_size", "subject", "repeat"]
    values = cases[list(SCORES)].astype(np.float64).where(cases["n_reference"] > 0)
    means = values.groupby([cases[key] for key in keys], observed=True).mean()
    return {
        (str(arm), int(size)): {
            score: table.droplevel(["init", "train_size"])[score].unstack("repeat") for score in SCORES
        }
        for (arm, size), table in _groups(means, level=["init", "train_size"])
    }


def list_missing(cases: pd.DataFrame, arms: Sequence[str], grid: Sequence[Cell] | None = None) -> tuple[str, ...]:
    """What a full grid of arms, sizes and repeats would hold and the table lacks, a sentence each.

    The studies are all that any run has.

    Args:
        cases: as from `tidy_cases`.
        arms: that are compared.
        grid: init, train_size and repeat of every run that was asked for; None: every size and repeat that any arm has.
    """
    groups = {
        (str(arm), int(size), int(repeat)): set(rows[STUDY].itertuples(index=False, name=None))
        for (arm, size, repeat), rows in _groups(cases, by=RUN)
    }
    there = {arm for arm, _, _ in groups}
    studies = set().union(*groups.values())
    sizes, repeats = sorted({size for _, size, _ in groups}), sorted({repeat for _, _, repeat in groups})
    whole = list(product(arms, sizes, repeats))
    asked: list[Cell] = whole if grid is None else [*dict.fromkeys((*grid, *groups))]
    missing = [f"{arm} has no finished run" for arm in arms if arm not in there]
    for arm in arms:
        for cell in sorted(cell for cell in asked if cell[0] == arm and arm in there):
            lacking = studies - groups.get(cell, set())
            if cell not in groups:
                missing.append(f"{run_name(*cell)} has no finished run")
            elif lacking:
                missing.append(
                    f"{run_name(*cell)} lacks {len(lacking)} of {len(studies)} test studies: "
                    f"{_listed(sorted(study_name(*study) for study in lacking))}"
                )
    return tuple(missing)


def run_name(arm: str, train_size: int, repeat: int) -> str:
    """How a run is named to the reader."""
    return f"{arm}, train_size {train_size}, repeat {repeat}"


def study_name(subject: str, session: str) -> str:
    """How a study is named to the reader."""
    return f"{subject} {session}".strip()


def _whole_numbers(column: "pd.Series[int]") -> "pd.Series[int]":
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = column[numbers.isna() | (numbers % 1 != 0)]
    if not wrong.empty:
        raise ValueError(f"The column {column.name} must hold whole numbers, found {wrong.iloc[0]!r}.")
    return numbers.astype(np.int64)


def _groups(table: pd.DataFrame, **how: Any) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Keys, whose types pandas does not tell, and rows."""
    return iter(table.groupby(observed=True, **how))


def _listed(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")

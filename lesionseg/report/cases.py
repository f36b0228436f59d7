"""The long table of test cases: one row per run and test study."""

from collections.abc import Sequence
from typing import Literal

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


def patient_table(cases: pd.DataFrame, arm: str, train_size: int, score: Score) -> pd.DataFrame:
    """One score per patient (index) and repeat (columns) of an arm at one size.

    A patient's sessions with reference lesions are averaged first; NaN is a patient without such a session, or
    one whom the run lacks.

    Args:
        cases: as from `tidy_cases`.
        arm: value of init.
        train_size: training studies.
        score: column to average.
    """
    rows = cases[(cases["init"] == arm) & (cases["train_size"] == train_size)]
    values = rows[score].where(rows["n_reference"] > 0)
    means = values.groupby([rows["subject"], rows["repeat"]]).mean().unstack("repeat")
    return means.astype(np.float64)


def list_missing(cases: pd.DataFrame, arms: Sequence[str]) -> tuple[str, ...]:
    """What a full grid of arms, sizes and repeats would hold and the table lacks, a sentence each.

    The grid is every size and repeat that any arm has; the studies are all that any run has.
    """
    sizes, repeats = sorted(cases["train_size"].unique()), sorted(cases["repeat"].unique())
    studies = set(cases[STUDY].itertuples(index=False, name=None))
    missing = []
    for arm in arms:
        of_arm = cases[cases["init"] == arm]
        if of_arm.empty:
            missing.append(f"{arm} has no finished run")
            continue
        for size in sizes:
            for repeat in repeats:
                run = of_arm[(of_arm["train_size"] == size) & (of_arm["repeat"] == repeat)]
                lacking = studies - set(run[STUDY].itertuples(index=False, name=None))
                if run.empty:
                    missing.append(f"{run_name(arm, size, repeat)} has no finished run")
                elif lacking:
                    missing.append(
                        f"{run_name(arm, size, repeat)} lacks {len(lacking)} of {len(studies)} test studies: "
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


def _listed(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")

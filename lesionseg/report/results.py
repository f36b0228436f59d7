"""Two arms over training-set sizes: means, paired differences, and what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from lesionseg.report.cases import SCORES, STUDY, Score, list_missing, patient_table, tidy_cases
from lesionseg.stats import PairedDifference, crossed_difference, summarise


class RepeatMean(NamedTuple):
    """One repeat's mean over the test patients with reference lesions."""

    repeat: int
    mean: float


@dataclass(frozen=True)
class ArmMean:
    """One score of one arm at one size, over the test patients with reference lesions.

    Attributes:
        arm: value of init.
        train_size: training studies.
        score: which score, 0 … 1.
        mean: over patients, each the mean of their repeats (and of their sessions before that); NaN without any.
        standard_error: over patients (ddof = 1); NaN below two patients.
        n_patients: patients that the mean rests on.
        n_undefined: tested patients without a value, such as those without reference lesion.
        by_repeat: the mean of each repeat that has a value, ascending.
    """

    arm: str
    train_size: int
    score: Score
    mean: float
    standard_error: float
    n_patients: int
    n_undefined: int
    by_repeat: tuple[RepeatMean, ...]

    @property
    def n_repeats(self) -> int:
        """How many repeats have a value."""
        return len(self.by_repeat)


@dataclass(frozen=True)
class SizeDifference:
    """The second arm minus the first at one size, paired by patient and repeat.

    It rests on the repeats that both arms have and the patients with all of these, so that it may differ from
    the difference of the two means where something is missing.
    """

    train_size: int
    score: Score
    difference: PairedDifference


@dataclass(frozen=True)
class WithoutLesions:
    """What an arm marks at one size in the test studies without reference lesion.

    Attributes:
        arm: value of init.
        train_size: training studies.
        n_studies: how many such studies.
        false_positives: predicted lesions per study, the repeats averaged within the study first.
        false_positive_volume_ml: their volume per study in ml, likewise.
        marked: share of these studies with any predicted lesion, 0 … 1, likewise.
    """

    arm: str
    train_size: int
    n_studies: int
    false_positives: float
    false_positive_volume_ml: float
    marked: float


@dataclass(frozen=True)
class Results:
    """The numbers of a comparison.

    Attributes:
        arms: the arms with a finished run, in the order asked for: one or two.
        sizes: training studies, ascending.
        repeats: repeats that any run has, ascending.
        n_patients: test patients.
        n_patients_with_lesions: those of them with a reference lesion in at least one session.
        n_studies: test studies.
        n_inconsistent: test studies whose number of reference lesions is not the same in every run: these were
            scored against different masks or by different rules.
        means: a row per size, score and arm, in that order.
        differences: a row per size and score that both arms have; empty with one arm.
        without_lesions: a row per size and arm; empty where every study has a reference lesion.
        missing: what a full grid would hold and the table lacks, a sentence each.
    """

    arms: tuple[str, ...]
    sizes: tuple[int, ...]
    repeats: tuple[int, ...]
    n_patients: int
    n_patients_with_lesions: int
    n_studies: int
    n_inconsistent: int
    means: tuple[ArmMean, ...]
    differences: tuple[SizeDifference, ...]
    without_lesions: tuple[WithoutLesions, ...]
    missing: tuple[str, ...]

    def mean(self, arm: str, train_size: int, score: Score) -> ArmMean | None:
        """One row of `means`, None where the arm has no finished run at that size."""
        wanted = (arm, train_size, score)
        return next((row for row in self.means if (row.arm, row.train_size, row.score) == wanted), None)

    def difference(self, train_size: int, score: Score) -> PairedDifference | None:
        """One row of `differences`, None where an arm has no finished run at that size."""
        wanted = (train_size, score)
        rows = (row.difference for row in self.differences if (row.train_size, row.score) == wanted)
        return next(rows, None)


def measure(cases: pd.DataFrame, arms: Sequence[str]) -> Results:
    """The numbers of a comparison; `compare` adds the sentences. Arguments and errors are those of `compare`."""
    if not 1 <= len(arms) <= 2 or len(set(arms)) != len(arms):
        raise ValueError(f"A comparison takes one arm or two different ones, found {', '.join(arms) or 'none'}.")
    kept = tidy_cases(cases, arms)
    present = tuple(arm for arm in arms if (kept["init"] == arm).any())
    sizes = tuple(int(size) for size in sorted(kept["train_size"].unique()))
    grid = [(size, score) for size in sizes for score in SCORES]
    means = [_arm_mean(kept, arm, size, score) for size, score in grid for arm in present]
    differences = [_size_difference(kept, present, size, score) for size, score in grid if len(present) == 2]
    apart = [_without_lesions(kept, arm, size) for size in sizes for arm in present]
    return Results(
        arms=present,
        sizes=sizes,
        repeats=tuple(int(repeat) for repeat in sorted(kept["repeat"].unique())),
        n_patients=kept["subject"].nunique(),
        n_patients_with_lesions=kept.loc[kept["n_reference"] > 0, "subject"].nunique(),
        n_studies=len(kept[STUDY].drop_duplicates()),
        n_inconsistent=int((kept.groupby(STUDY)["n_reference"].nunique(dropna=False) > 1).sum()),
        means=tuple(row for row in means if row is not None),
        differences=tuple(row for row in differences if row is not None),
        without_lesions=tuple(row for row in apart if row is not None),
        missing=list_missing(kept, arms),
    )


def _arm_mean(cases: pd.DataFrame, arm: str, size: int, score: Score) -> ArmMean | None:
    table = patient_table(cases, arm, size, score)
    if table.empty:
        return None
    summary = summarise(table.mean(axis=1).to_numpy())
    repeats = table.mean(axis=0).dropna()
    return ArmMean(
        arm=arm,
        train_size=size,
        score=score,
        mean=summary.mean,
        standard_error=summary.standard_error,
        n_patients=summary.n,
        n_undefined=summary.n_undefined,
        by_repeat=tuple(RepeatMean(int(str(repeat)), float(mean)) for repeat, mean in repeats.items()),
    )


def _size_difference(cases: pd.DataFrame, arms: Sequence[str], size: int, score: Score) -> SizeDifference | None:
    first, second = (patient_table(cases, arm, size, score) for arm in arms)
    if first.empty or second.empty:
        return None
    repeats = first.columns.intersection(second.columns)
    difference = second[repeats] - first[repeats]
    # A patient without reference lesion is undefined in both arms: that is no missing cell.
    undefined = first.isna().all(axis=1).reindex(difference.index, fill_value=False)
    undefined &= second.isna().all(axis=1).reindex(difference.index, fill_value=False)
    return SizeDifference(size, score, crossed_difference(difference[~undefined].to_numpy()))


def _without_lesions(cases: pd.DataFrame, arm: str, size: int) -> WithoutLesions | None:
    rows = cases[(cases["init"] == arm) & (cases["train_size"] == size) & ~(cases["n_reference"] > 0)]
    if rows.empty:
        return None
    marked = rows.assign(marked=(rows["false_positives"] > 0).astype(float))
    columns = ["false_positives", "false_positive_volume_ml", "marked"]
    by_study = marked.groupby(STUDY)[columns].mean()
    mean = by_study.mean()
    return WithoutLesions(
        arm=arm,
        train_size=size,
        n_studies=len(by_study),
        false_positives=float(mean["false_positives"]),
        false_positive_volume_ml=float(mean["false_positive_volume_ml"]),
        marked=float(mean["marked"]),
    )

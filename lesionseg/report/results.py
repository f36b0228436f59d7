"""The numbers of a comparison: arms over training-set sizes, each held against the first."""

from dataclasses import dataclass
from typing import NamedTuple

from lesionseg.report.cases import Score
from lesionseg.stats import ClusteredRatio, MixedModel, PairedDifference, SignFlipTest, WilcoxonTest


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
        low: lower end of the 95 % t interval over patients, for these trained models; NaN below two patients.
        high: its upper end.
        n_patients: patients that the mean rests on.
        n_undefined: tested patients without a value, such as those without reference lesion.
        by_repeat: the mean of each repeat that has a value, ascending.
        pooled: the ratio of all patients' lesions together, each patient's counts the mean of their repeats; of
            sensitivity and PPV, None of other scores and where the table of cases has no counts.
    """

    arm: str
    train_size: int
    score: Score
    mean: float
    standard_error: float
    low: float
    high: float
    n_patients: int
    n_undefined: int
    by_repeat: tuple[RepeatMean, ...]
    pooled: ClusteredRatio | None = None

    @property
    def n_repeats(self) -> int:
        """How many repeats have a value."""
        return len(self.by_repeat)


@dataclass(frozen=True)
class SizeDifference:
    """An arm minus the reference arm at one size, paired by patient and repeat.

    It rests on the repeats that both arms have and the patients with all of these, so that it may differ from
    the difference of the two means where something is missing.

    Attributes:
        arm: value of init.
        reference: of the arm that it is held against.
        train_size: training studies.
        score: which score.
        difference: the test for new patients and new trainings.
        holm_p: its p adjusted for all tests of sensitivity, PPV and F1 of the comparison; NaN where there is no test
            and for a score that is not one of these.
        sign_flip: another test of the patients' means over repeats, which takes the trainings as given.
        wilcoxon: one by ranks, likewise.
        mixed: the mixed model, which keeps patients that lack a repeat; None: it was left out as too large.
    """

    arm: str
    reference: str
    train_size: int
    score: Score
    difference: PairedDifference
    holm_p: float
    sign_flip: SignFlipTest
    wilcoxon: WilcoxonTest
    mixed: MixedModel | None


@dataclass(frozen=True)
class PatientScore:
    """One patient's score under one arm at one size: the mean over sessions with reference lesions, then repeats.

    Attributes:
        arm: value of init.
        train_size: training studies.
        score: which score.
        patient: the subject's name.
        value: 0 … 1; NaN is undefined in every repeat.
    """

    arm: str
    train_size: int
    score: Score
    patient: str
    value: float


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
        arms: the arms with a finished run, in the order asked for; the others are held against the first.
        sizes: training studies, ascending.
        repeats: repeats that any run has, ascending.
        n_patients: test patients.
        n_patients_with_lesions: those of them with a reference lesion in at least one session.
        n_studies: test studies.
        n_inconsistent: test studies whose number of reference lesions is not the same in every run: these were
            scored against different masks or by different rules.
        means: a row per size, score and arm, in that order.
        differences: a row per size, score and arm but the first; empty with one arm.
        n_tests: how many tests `SizeDifference.holm_p` is adjusted for.
        without_lesions: a row per size and arm; empty where every study has a reference lesion.
        missing: what a full grid would hold and the table lacks, a sentence each.
        patients: a row per size, score, arm and patient.
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
    n_tests: int
    without_lesions: tuple[WithoutLesions, ...]
    missing: tuple[str, ...]
    patients: tuple[PatientScore, ...] = ()

    @property
    def reference(self) -> str:
        """The arm that the others are held against."""
        return self.arms[0]

    @property
    def others(self) -> tuple[str, ...]:
        """The arms that are held against it."""
        return self.arms[1:]

    def mean(self, arm: str, train_size: int, score: Score) -> ArmMean | None:
        """One row of `means`, None where the arm has no finished run at that size."""
        wanted = (arm, train_size, score)
        return next((row for row in self.means if (row.arm, row.train_size, row.score) == wanted), None)

    def difference(self, arm: str, train_size: int, score: Score) -> SizeDifference | None:
        """One row of `differences`, None where the arm or the reference has no finished run at that size."""
        wanted = (arm, train_size, score)
        return next((row for row in self.differences if (row.arm, row.train_size, row.score) == wanted), None)

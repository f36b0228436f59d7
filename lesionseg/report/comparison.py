"""The comparison of two arms: its numbers and what they say."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from lesionseg.report.learning_rates import describe_rates
from lesionseg.report.recorded import RecordedRun
from lesionseg.report.results import Results, measure
from lesionseg.report.sentences import answer, caveats
from lesionseg.report.settings import describe_settings
from lesionseg.report.validation import Validation, judge_validation


@dataclass(frozen=True)
class Comparison:
    """Everything that a report says.

    Attributes:
        results: the numbers.
        answer: what they say at the smallest and the largest size: at most three plain sentences.
        validation: whether an arm is behind on validation.
        compared: what the arms differ in, and whether their learning rates were chosen alike, an item each; empty where
            nothing is known of the runs but their cases.
        caveats: what the numbers can and cannot carry, an item each.
    """

    results: Results
    answer: tuple[str, ...]
    validation: Validation
    compared: tuple[str, ...]
    caveats: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """What a full grid of arms, sizes and repeats would hold and the table lacks, a sentence each."""
        return self.results.missing


def compare(cases: pd.DataFrame, arms: Sequence[str], runs: Sequence[RecordedRun] = ()) -> Comparison:
    """Compare two arms over training-set sizes, patient by patient.

    A patient's sessions are averaged first, then their repeats; means and standard errors are over patients.
    Differences are the second arm minus the first, paired by patient and repeat, tested for new patients and new
    trainings at once (`lesionseg.stats.crossed_difference`). Studies without reference lesion are apart.

    Args:
        cases: a row per run and test study: init, train_size, repeat, subject, session (empty where there is one
            only) and the columns of `lesionseg.metrics.CaseScores`.
        arms: values of init, such as ("scratch", "pretrained"). One arm, or one without any run: its means,
            and no differences.
        runs: what the runs of the cases tell of themselves; without them nothing is said of validation and settings.

    Raises:
        ValueError: if a column is missing, no arm has a row, train_size or repeat is no whole number, or a study
            is there twice in one run.
    """
    results = measure(cases, arms)
    known = [run for run in runs if run.arm in results.arms]
    compared = (*describe_settings(known, results.arms), *describe_rates(known, results.arms)) if known else ()
    return Comparison(results, answer(results), judge_validation(known, results.arms), compared, caveats(results))

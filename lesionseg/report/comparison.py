"""The comparison of two arms: its numbers and what they say."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from lesionseg.report.results import Results, measure
from lesionseg.report.sentences import answer, caveats


@dataclass(frozen=True)
class Comparison:
    """Everything that a report says.

    Attributes:
        results: the numbers.
        answer: what they say at the smallest and the largest size: at most three plain sentences.
        caveats: what they can and cannot carry, an item each.
    """

    results: Results
    answer: tuple[str, ...]
    caveats: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """What a full grid of arms, sizes and repeats would hold and the table lacks, a sentence each."""
        return self.results.missing


def compare(cases: pd.DataFrame, arms: Sequence[str]) -> Comparison:
    """Compare two arms over training-set sizes, patient by patient.

    A patient's sessions are averaged first, then their repeats; means and standard errors are over patients.
    Differences are the second arm minus the first, paired by patient and repeat, tested for new patients and new
    trainings at once (`lesionseg.stats.crossed_difference`). Studies without reference lesion are apart.

    Args:
        cases: a row per run and test study: init, train_size, repeat, subject, session (empty where there is one
            only) and the columns of `lesionseg.metrics.CaseScores`.
        arms: values of init, such as ("scratch", "pretrained"). One arm, or one without any run: its means,
            and no differences.

    Raises:
        ValueError: if a column is missing, no arm has a row, train_size or repeat is no whole number, or a study
            is there twice in one run.
    """
    results = measure(cases, arms)
    return Comparison(results, answer(results), caveats(results))

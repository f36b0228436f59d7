"""Learning curves: an arm's score over training-set sizes."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, nan

import numpy as np

from lesionseg.report.cases import SCORES, Score
from lesionseg.report.results import ArmMean, Results
from lesionseg.stats import IsotonicCurve, PowerLawCurve, isotonic_curve, power_law_curve


@dataclass(frozen=True)
class LearningCurve:
    """One score of one arm over the sizes that the arm has.

    Attributes:
        arm: value of init.
        score: which score, 0 … 1.
        sizes: training studies, ascending; S of them.
        means: over patients and repeats at each size; S of them, NaN where there is no score.
        low: lower end of each mean's 95 % t interval over patients; NaN where it cannot be had.
        high: upper ends.
        by_repeat: repeat to its mean over patients at each size; S of them, NaN where the repeat lacks the size.
        isotonic: the non-decreasing curve nearest to the means; None below two sizes with a score.
        power_law: a − b·n^(−c) through the means, for the eye and inside the sizes only; None below three sizes with
            a score, or where it could not be fitted.
    """

    arm: str
    score: Score
    sizes: tuple[int, ...]
    means: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    by_repeat: Mapping[int, tuple[float, ...]]
    isotonic: IsotonicCurve | None
    power_law: PowerLawCurve | None


def learning_curves(results: Results) -> tuple[LearningCurve, ...]:
    """A curve per score and arm, in that order, from an arm's means."""
    return tuple(
        _curve(arm, score, [row for row in results.means if (row.arm, row.score) == (arm, score)])
        for score in SCORES
        for arm in results.arms
    )


def _curve(arm: str, score: Score, rows: list[ArmMean]) -> LearningCurve:
    sizes, means = [row.train_size for row in rows], [row.mean for row in rows]
    repeats = sorted({repeat for row in rows for repeat, _ in row.by_repeat})
    n_scored = int(np.isfinite(means).sum())
    law = power_law_curve(sizes, means) if n_scored > 2 else None
    return LearningCurve(
        arm=arm,
        score=score,
        sizes=tuple(sizes),
        means=tuple(means),
        low=tuple(row.low for row in rows),
        high=tuple(row.high for row in rows),
        by_repeat={repeat: tuple(dict(row.by_repeat).get(repeat, nan) for row in rows) for repeat in repeats},
        isotonic=isotonic_curve(sizes, means) if n_scored > 1 else None,
        power_law=law if law is not None and isfinite(law.a) else None,
    )

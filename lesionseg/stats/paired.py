"""Is one arm better than the other, on these patients and over the luck of training?"""

from dataclasses import dataclass
from math import inf, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from lesionseg.stats._table import NO_SPREAD, ONE_REPEAT, TOO_FEW, as_table, complete_cases, is_constant

NEGATIVE_COMPONENT = "A variance component was estimated below zero and is taken as zero."
# Mean squares this near count as equal, so that the order of patients decides nothing.
ROUNDING = 1e-9


@dataclass(frozen=True)
class PairedDifference:
    """The mean difference between two arms and what it can be told from.

    Attributes:
        mean: mean over patients and repeats, in the units of the differences; NaN without patients.
        standard_error: of that mean, over new patients and new trainings alike; NaN where it cannot be had.
        df: degrees of freedom of t, above 0, rarely whole; NaN where there is no test.
        t: mean / standard_error.
        p: two-sided, 0 … 1, not adjusted for other comparisons.
        low: lower end of the 95 % interval of the mean.
        high: upper end.
        n_patients: patients that it rests on, those with every repeat.
        n_repeats: repeats that it rests on.
        note: what the reader has to know, one sentence after another; empty where nothing.
    """

    mean: float
    standard_error: float
    df: float
    t: float
    p: float
    low: float
    high: float
    n_patients: int
    n_repeats: int
    note: str = ""


def crossed_difference(differences: ArrayLike) -> PairedDifference:
    """Test a mean difference for new patients and new trainings at once.

    Every trained pair of models (repeat) is tested on every patient, so that patients and repeats are crossed
    and both random. From the mean squares of the P × K table (patients MSp, repeats MSk, residual MSe), the
    variance of the mean is (MSp + MSk − MSe) / (K·P) with the Satterthwaite degrees of freedom
    (MSp + MSk − MSe)² / (MSp²/(P−1) + MSk²/(K−1) + MSe²/((P−1)(K−1))). A t test over patients of the mean
    over repeats (MSp alone) would call training luck an effect.

    Where MSe exceeds MSp or MSk, a variance component is estimated below zero and is taken as zero: the
    largest of the three replaces the sum, in the variance and in the degrees of freedom (P − 1, K − 1 or
    (P − 1)(K − 1); of equal ones the fewest): the variance is then positive and never below that of patients alone.

    In simulations of the null (4 000 tables each, 10 and 30 patients, a range of variance components) a test at
    5 % came out positive in at most 5 % with 5 repeats and 6 % with 3. With 2 it was 12 % where training varies as
    much as patients do and there are 30 of these: two trainings cannot tell their own variance.

    With one repeat it is the paired t test over patients.

    Source: two-way random-effects analysis of variance without replication, Satterthwaite 1946
    (doi 10.2307/3002019); the same crossing of readers and cases: Dorfman, Berbaum & Metz 1992
    (doi 10.1097/00004424-199209000-00015), Hillis 2007 (doi 10.1002/sim.2532).

    Args:
        differences: one arm minus the other, shape (P patients, K repeats). NaN is a missing cell: a repeat
            without any value is dropped first, then every patient with a missing cell; the note counts both.

    Returns:
        The difference and its test. All differences zero: t = 0, p = 1 and an interval of 0 … 0, as nothing
        was found. All the same but not zero, or fewer than two patients: NaN, with the reason in the note.

    Raises:
        ValueError: if the differences are not a table, or one of them is infinite.
    """
    complete, notes = complete_cases(as_table(differences))
    n_patients, n_repeats = complete.shape
    if n_repeats == 1:
        notes.append(ONE_REPEAT)
    if n_patients < 2:
        notes.append(TOO_FEW)
        return _untested(complete, notes)
    if is_constant(complete):
        return _without_spread(complete, notes)
    variance, df, truncated = _variance(complete)
    if truncated:
        notes.append(NEGATIVE_COMPONENT)
    return _test(complete, variance, df, notes)


def _variance(table: NDArray[np.float64]) -> tuple[float, float, bool]:
    """Variance of the grand mean, its degrees of freedom, and whether a component was below zero."""
    n_patients, n_repeats = table.shape
    if n_repeats == 1:
        return float(table.var(ddof=1)) / n_patients, n_patients - 1.0, False
    patients, repeats, residual = mean_squares(table)
    estimate = patients + repeats - residual
    denominator = (
        patients**2 / (n_patients - 1)
        + repeats**2 / (n_repeats - 1)
        + residual**2 / ((n_patients - 1) * (n_repeats - 1))
    )
    if residual <= min(patients, repeats) * (1 + ROUNDING):
        return estimate / table.size, max(estimate**2 / denominator, 1.0), False
    largest = max(patients, repeats, residual)
    squares = (
        (patients, n_patients - 1.0),
        (repeats, n_repeats - 1.0),
        (residual, (n_patients - 1.0) * (n_repeats - 1.0)),
    )
    return largest / table.size, min(df for square, df in squares if square >= largest * (1 - ROUNDING)), True


def mean_squares(table: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean squares of patients, repeats and residual of a complete table, shape (P ≥ 2, K ≥ 2)."""
    n_patients, n_repeats = table.shape
    mean = table.mean()
    by_patient = table.mean(axis=1, keepdims=True)
    by_repeat = table.mean(axis=0, keepdims=True)
    residual = table - by_patient - by_repeat + mean
    return (
        float(n_repeats * ((by_patient - mean) ** 2).sum() / (n_patients - 1)),
        float(n_patients * ((by_repeat - mean) ** 2).sum() / (n_repeats - 1)),
        float((residual**2).sum() / ((n_patients - 1) * (n_repeats - 1))),
    )


def _test(table: NDArray[np.float64], variance: float, df: float, notes: list[str]) -> PairedDifference:
    mean, error = float(table.mean()), sqrt(variance)
    t = mean / error
    margin = float(stdtrit(df, 0.975)) * error
    return PairedDifference(
        mean=mean,
        standard_error=error,
        df=df,
        t=t,
        p=2 * float(stdtr(df, -abs(t))),
        low=mean - margin,
        high=mean + margin,
        n_patients=table.shape[0],
        n_repeats=table.shape[1],
        note=" ".join(notes),
    )


def _without_spread(table: NDArray[np.float64], notes: list[str]) -> PairedDifference:
    n_patients, n_repeats = table.shape
    note = " ".join(notes)
    if np.any(table):
        return _untested(table, [*notes, NO_SPREAD])
    return PairedDifference(0.0, 0.0, inf, 0.0, 1.0, 0.0, 0.0, n_patients, n_repeats, note)


def _untested(table: NDArray[np.float64], notes: list[str]) -> PairedDifference:
    n_patients, n_repeats = table.shape
    mean = float(table.mean()) if table.size else nan
    return PairedDifference(mean, nan, nan, nan, nan, nan, nan, n_patients, n_repeats, " ".join(notes))

"""The paired difference of two arms over patients and repeats, with a test for new patients and new trainings."""

from dataclasses import dataclass
from math import inf, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtr, stdtrit

FEWEST_REPEATS = 3
"""Two trainings cannot tell how much trainings vary: with fewer there is no test and no interval over trainings."""
FEW_REPEATS = "Fewer than 3 repeats: no test and no interval over trainings."
TOO_FEW = "Fewer than two patients have every repeat: no standard error and no test."
NO_SPREAD = "Every difference is the same: there is no spread to test against."
NEGATIVE_COMPONENT = "A variance component was estimated below zero and is taken as zero."
# Mean squares this near count as equal, so that the order of patients decides nothing.
ROUNDING = 1e-9
ONE_PATIENT = "Fewer than two patients have a trial: no standard error."
SAME_RATIO = "Every patient has the same ratio: there is no spread to tell an error from."


@dataclass(frozen=True)
class Summary:
    """Mean and standard error of one value per patient."""

    mean: float  # NaN where n is 0
    standard_error: float  # standard deviation (ddof = 1) over √n, NaN where n is below 2
    n: int  # patients with a value
    n_undefined: int  # patients whose value is NaN


def summarise(values: ArrayLike) -> Summary:
    """Return the mean over patients and its standard error; NaN values are counted and left out.

    Source: Altman & Bland 2005, doi 10.1136/bmj.331.7521.903.

    Args:
        values: shape (P,), one per patient.

    Raises:
        ValueError: the values are not one-dimensional.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"values must have one value per patient (got shape {array.shape})")
    defined = array[~np.isnan(array)]
    n = defined.size
    return Summary(
        mean=float(defined.mean()) if n else nan,
        standard_error=float(defined.std(ddof=1)) / sqrt(n) if n > 1 else nan,
        n=n,
        n_undefined=array.size - n,
    )


@dataclass(frozen=True)
class PairedDifference:
    """The mean difference between two arms and its test."""

    mean: float  # mean over patients and repeats, in the units of the differences; NaN without patients
    standard_error: float  # of that mean, over new patients and new trainings alike; NaN where it cannot be had
    df: float  # degrees of freedom of t, above 0, rarely whole; NaN where there is no test
    t: float  # mean / standard_error
    p: float  # two-sided, not adjusted for other comparisons
    low: float  # lower end of the 95 % interval of the mean
    high: float  # upper end
    n_patients: int  # patients that it rests on, those with every repeat
    n_repeats: int  # repeats that it rests on
    note: str = ""  # what limits the result, one sentence after another; empty where nothing does


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
    much as patients do and there are 30 of these: below `FEWEST_REPEATS` there is a mean and no test.

    Source: two-way random-effects analysis of variance without replication, Satterthwaite 1946
    (doi 10.2307/3002019); the same crossing of readers and cases: Dorfman, Berbaum & Metz 1992
    (doi 10.1097/00004424-199209000-00015), Hillis 2007 (doi 10.1002/sim.2532).

    Args:
        differences: one arm minus the other, shape (P patients, K repeats). NaN is a missing cell: a repeat
            without any value is dropped first, then every patient with a missing cell; the note counts both.

    Returns:
        The difference and its test. All differences zero: t = 0, p = 1 and an interval of 0 … 0, as nothing was found.
        All the same but not zero, fewer than two patients or than three repeats: NaN, with the reason in the note.

    Raises:
        ValueError: the differences are not a table, or one of them is infinite.
    """
    table, notes = complete_cases(differences)
    n_patients, n_repeats = table.shape
    mean = float(table.mean()) if table.size else nan
    few_repeats = 0 < n_repeats < FEWEST_REPEATS
    notes += [FEW_REPEATS] * few_repeats + [TOO_FEW] * (n_patients < 2)
    constant = n_patients > 1 and bool(np.ptp(table) <= 1e-12 * np.abs(table).max())
    if constant and not few_repeats and not table.any():
        return PairedDifference(0.0, 0.0, inf, 0.0, 1.0, 0.0, 0.0, n_patients, n_repeats, " ".join(notes))
    if constant or few_repeats or n_patients < 2:
        notes += [NO_SPREAD] * constant
        return PairedDifference(mean, nan, nan, nan, nan, nan, nan, n_patients, n_repeats, " ".join(notes))
    variance, df, truncated = _variance_of_mean(table)
    notes += [NEGATIVE_COMPONENT] * truncated
    error = sqrt(variance)
    margin, t = float(stdtrit(df, 0.975)) * error, mean / error
    return PairedDifference(
        mean=mean,
        standard_error=error,
        df=df,
        t=t,
        p=2 * float(stdtr(df, -abs(t))),
        low=mean - margin,
        high=mean + margin,
        n_patients=n_patients,
        n_repeats=n_repeats,
        note=" ".join(notes),
    )


def complete_cases(differences: ArrayLike) -> tuple[NDArray[np.float64], list[str]]:
    """Return the table without empty repeats, then without patients who lack one, and a note on each."""
    table = np.asarray(differences, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"differences must be a table (patients, repeats) (got shape {table.shape})")
    if np.isinf(table).any():
        raise ValueError("differences must be finite or NaN (got an infinite one)")
    present = ~np.isnan(table)
    repeats = present.any(axis=0)
    kept = table[:, repeats]
    patients = ~np.isnan(kept).any(axis=1) & bool(repeats.any())
    notes = []
    if not repeats.all():
        notes.append(f"{(~repeats).sum()} of {repeats.size} repeats have no difference and are left out.")
    if not patients.all():
        notes.append(f"{(~patients).sum()} of {patients.size} patients lack a repeat and are left out.")
    return kept[patients], notes


def mean_squares(table: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean squares of patients, repeats and residual of a complete table, shape (P ≥ 2, K ≥ 2)."""
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


def _variance_of_mean(table: NDArray[np.float64]) -> tuple[float, float, bool]:
    """Return the variance of the grand mean, its degrees of freedom, and whether a component was below zero."""
    n_patients, n_repeats = table.shape
    squares = mean_squares(table)
    patients, repeats, residual = squares
    dfs = (n_patients - 1.0, n_repeats - 1.0, (n_patients - 1.0) * (n_repeats - 1.0))
    if residual <= min(patients, repeats) * (1 + ROUNDING):
        estimate = patients + repeats - residual
        denominator = sum(square**2 / df for square, df in zip(squares, dfs, strict=True))
        return estimate / table.size, max(estimate**2 / denominator, 1.0), False
    largest = max(squares)
    fewest = min(df for square, df in zip(squares, dfs, strict=True) if square >= largest * (1 - ROUNDING))
    return largest / table.size, fewest, True


def patients_needed(differences: ArrayLike, n_repeats: ArrayLike, difference: float = 0.05) -> NDArray[np.float64]:
    """Return how many test patients would show a difference of this size in 80 % of studies, at a level of 5 %.

    The variance components are those of the differences at hand, σp² = (MSp − MSe)/K, σk² = (MSk − MSe)/P and
    σe² = MSe, none below zero. With P' patients and K' repeats the mean has the variance σp²/P' + σk²/K' + σe²/(P'K');
    the least P' is returned for which (1.96 + 0.84) times its root is no more than the difference. The quantiles are
    the normal distribution's, a little too hopeful with 3 repeats.

    Source: as `crossed_difference`; Chow, Shao & Wang 2008, Sample Size Calculations in Clinical Research, § 3.1.

    Args:
        differences: one arm minus the other, shape (P patients, K repeats), treated as in `crossed_difference`.
        n_repeats: numbers of repeats K' to plan with, shape (R,).
        difference: to be shown, in the units of the differences.

    Returns:
        Patients for each number of repeats, shape (R,): infinite where so few trainings do not suffice for any number
        of patients; NaN with fewer than two patients or repeats.
    """
    table, _ = complete_cases(differences)
    planned = np.asarray(n_repeats, dtype=np.float64)
    if min(table.shape) < 2:
        return np.full(planned.shape, nan)
    patients, repeats, residual = mean_squares(table)
    of_patients, of_repeats = (max(0.0, patients - residual) / table.shape[1], max(0.0, repeats - residual))
    room = (difference / (ndtri(0.975) + ndtri(0.8))) ** 2 - of_repeats / table.shape[0] / planned
    wanted = (of_patients + residual / planned) / np.where(room > 0, room, nan)
    return np.where(room > 0, np.maximum(2, np.ceil(wanted)), inf)


@dataclass(frozen=True)
class ClusteredRatio:
    """Successes over trials of all patients together."""

    ratio: float  # pooled, 0 … 1; NaN without trials
    standard_error: float  # over new patients; NaN where it cannot be had
    low: float  # lower end of the 95 % interval, 0 at the least; NaN likewise
    high: float  # upper end, 1 at the most
    n_patients: int  # patients with at least one trial
    note: str = ""  # what limits the result; empty where nothing does


def clustered_ratio(successes: ArrayLike, trials: ArrayLike) -> ClusteredRatio:
    """Return the pooled ratio R = Σ successes / Σ trials with a standard error over patients.

    Lesions of one patient are found or missed together, and a patient with many counts more. So the patient is
    drawn, not the lesion: with yᵢ successes in xᵢ trials of n patients, the linearised variance of R is
    n/(n − 1) · Σ (yᵢ − R·xᵢ)² / (Σ xᵢ)², and the interval is that of t with n − 1 degrees of freedom, cut at
    0 and 1. A binomial error of the pooled lesions would be far too small. The approximation wants 20 patients
    or so; with fewer, or near 0 and 1, the interval is too short.

    Source: Cochran 1977, Sampling Techniques, 3rd ed., § 2.11 and § 3.12; for lesions within patients: Rao & Scott
    1992 (doi 10.2307/2532311).

    Args:
        successes: of each patient, 0 … trials, whole or not (a mean over repeats); shape (P,).
        trials: of each patient, ≥ 0; shape (P,). Patients without a trial, or with NaN, are left out.

    Returns:
        The ratio. Fewer than two patients, or the same ratio in all of them: no standard error and no interval
        (NaN), with the reason in the note.

    Raises:
        ValueError: the shapes differ, a number is negative or infinite, or there are more successes than trials.
    """
    y, x = np.asarray(successes, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    if y.ndim != 1 or y.shape != x.shape:
        raise ValueError(f"successes and trials take one number per patient (got shapes {y.shape} and {x.shape})")
    for name, numbers in (("successes", y), ("trials", x)):
        wrong = numbers[(numbers < 0) | np.isinf(numbers)]
        if wrong.size:
            raise ValueError(f"{name} must be 0 or more, and finite, or NaN (got {wrong[0]})")
    (more,) = np.nonzero(y > x * (1 + 1e-9))
    if more.size:
        raise ValueError(f"successes must not exceed trials (got {y[more[0]]:g} of {x[more[0]]:g})")
    counted = (x > 0) & ~np.isnan(y)
    y, x = y[counted], x[counted]
    n, total = y.size, float(x.sum())
    ratio = float(y.sum()) / total if n else nan
    residual = y - ratio * x
    note = ONE_PATIENT if n < 2 else SAME_RATIO if np.abs(residual).max() <= 1e-12 * x.max() else ""
    if note:
        return ClusteredRatio(ratio, nan, nan, nan, n, note)
    error = sqrt(n / (n - 1) * float((residual**2).sum())) / total
    margin = float(stdtrit(n - 1, 0.975)) * error
    return ClusteredRatio(ratio, error, max(ratio - margin, 0.0), min(ratio + margin, 1.0), n)

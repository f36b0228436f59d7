"""Tests of the patients' mean differences that take the trainings as given, and Holm's adjustment."""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionseg.stats.paired import complete_cases

NO_TEST = "Fewer than two patients have every repeat: no test."


@dataclass(frozen=True)
class PatientTest:
    """A test of one difference per patient, the mean of the patient's repeats."""

    estimate: float  # mean (sign-flip test) or median (Wilcoxon) over patients, in their units; NaN without patients
    p: float  # two-sided, 0 … 1, not adjusted for other comparisons; NaN with fewer than two patients
    n_patients: int  # patients that it rests on, those with every repeat
    n_repeats: int  # repeats that each patient's mean is over
    note: str = ""  # what limits the result, one sentence after another; empty where nothing does


def sign_flip_test(differences: ArrayLike, *, n_resamples: int = 100_000, seed: int = 0) -> PatientTest:
    """Test a mean difference over patients by flipping signs.

    Without an effect a patient's mean difference is as likely to be d as −d. p is the share of sign patterns
    whose mean is at least as far from zero as the one found. No distribution is assumed, but symmetry.

    The trainings are taken as given: it speaks of new patients for *these* trained models. Repeats are averaged
    within each patient, so a training that was lucky for all patients looks like an effect. In simulations of
    the null with 3 repeats, at a level of 5 %, it rejects 4 % where trainings do not differ, but where they
    differ half as much as patients do, 15 % with 12 patients and 28 % with 30. `crossed_difference` draws both.

    Source: Fisher 1935, The Design of Experiments, § 21; `scipy.stats.permutation_test`. Monte Carlo p-values count
    the table itself and are never 0: Phipson & Smyth 2010 (doi 10.2202/1544-6115.1585).

    Args:
        differences: one arm minus the other, shape (P patients,) or (P patients, K repeats). NaN is a missing
            cell, treated as in `crossed_difference`.
        n_resamples: up to how many patterns are tried: all of them if they are no more (by default up to 16
            patients), otherwise this many at random.
        seed: of the random patterns; without influence where all are tried.

    Returns:
        The test. All differences zero: p = 1. Fewer than two patients: p is NaN.

    Raises:
        ValueError: the differences have another shape, or one of them is infinite.
    """
    means, n_repeats, notes = _patient_means(differences)
    if means.size < 2:
        mean = float(means.mean()) if means.size else nan
        return PatientTest(mean, nan, means.size, n_repeats, " ".join([*notes, NO_TEST]))
    from scipy.stats import permutation_test  # takes a quarter of a second to import

    found = permutation_test(
        (means,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=n_resamples,
        batch=10_000,
        rng=np.random.default_rng(seed),
    )
    notes += _few_patients(int((means != 0).sum()))
    return PatientTest(float(means.mean()), float(found.pvalue), means.size, n_repeats, " ".join(notes))


def wilcoxon_test(differences: ArrayLike) -> PatientTest:
    """Test each patient's mean over repeats by Wilcoxon's signed ranks.

    Zeros are ranked with the others and then left out (Pratt), so that patients without a difference weaken the
    evidence instead of vanishing from it. Differences that are the same but for rounding count as ties: all are
    rounded to 12 digits of the largest. The trainings are taken as given, as in `sign_flip_test`.

    Source: Wilcoxon 1945 (doi 10.2307/3001968), Pratt 1959 (doi 10.1080/01621459.1959.10501526);
    `scipy.stats.wilcoxon`.

    Args:
        differences: as in `sign_flip_test`.

    Returns:
        The test. All differences zero: p = 1. Fewer than two patients: p is NaN.

    Raises:
        ValueError: the differences have another shape, or one of them is infinite.
    """
    means, n_repeats, notes = _patient_means(differences)
    median = float(np.median(means)) if means.size else nan
    if means.size < 2:
        return PatientTest(median, nan, means.size, n_repeats, " ".join([*notes, NO_TEST]))
    largest = np.abs(means).max()
    ranked = np.round(means / largest, 12) if largest else means
    n_different = int((ranked != 0).sum())
    p = 1.0
    if n_different:
        from scipy.stats import wilcoxon  # takes a quarter of a second to import

        p = float(wilcoxon(ranked, zero_method="pratt").pvalue)
    return PatientTest(median, p, means.size, n_repeats, " ".join([*notes, *_few_patients(n_different)]))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values by Holm's step-down method: the chance of any false positive stays at the level.

    The smallest of m p-values is multiplied by m, the next one by m − 1, and so on; none falls below the one
    before. It needs no independence and is never weaker than Bonferroni's.

    Source: Holm 1979, Scand J Stat 6:65–70; `statsmodels.stats.multitest.multipletests`.

    Args:
        p_values: 0 … 1, any shape; NaN is a comparison without a test: it stays NaN and counts for nothing.

    Raises:
        ValueError: a p-value is outside 0 … 1.
    """
    p = np.array(p_values, dtype=np.float64)
    tested = ~np.isnan(p)
    wrong = p[tested & ~((p >= 0) & (p <= 1))]
    if wrong.size:
        raise ValueError(f"p-values must lie in 0 … 1 or be NaN (got {wrong[0]})")
    if tested.any():
        from statsmodels.stats.multitest import multipletests  # takes a quarter of a second to import

        p[tested] = multipletests(p[tested], method="holm")[1]
    return p


def _patient_means(differences: ArrayLike) -> tuple[NDArray[np.float64], int, list[str]]:
    """Return one mean per complete patient, over how many repeats, and notes on what was left out."""
    array = np.asarray(differences, dtype=np.float64)
    complete, notes = complete_cases(array[:, None] if array.ndim == 1 else array)
    n_repeats = complete.shape[1]
    return complete.mean(axis=1) if n_repeats else np.empty(0), n_repeats, notes


def _few_patients(n_different: int) -> list[str]:
    """Say where a test of signs or ranks cannot reach 0.05, whatever the differences."""
    smallest = 2.0 ** (1 - n_different)
    if smallest <= 0.05:
        return []
    return [f"Only {n_different} patients differ between the arms: p cannot fall below {min(smallest, 1):g}."]

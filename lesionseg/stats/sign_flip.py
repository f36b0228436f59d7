"""Is one arm better, if all that is assumed is that a difference could as well have had the other sign?"""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike

from lesionseg.stats._table import NO_TEST, few_patients, patient_means


@dataclass(frozen=True)
class SignFlipTest:
    """What flipping the patients' signs says of a mean difference.

    Attributes:
        mean: mean over patients, in the units of the differences; NaN without patients.
        p: two-sided, above 0 … 1, not adjusted for other comparisons; NaN with fewer than two patients.
        exact: whether all 2ⁿ patterns of signs were tried; otherwise p is a Monte Carlo estimate.
        n_patients: patients that it rests on, those with every repeat.
        n_repeats: repeats that each patient's mean is over.
        note: what the reader has to know, one sentence after another; empty where nothing.
    """

    mean: float
    p: float
    exact: bool
    n_patients: int
    n_repeats: int
    note: str = ""


def sign_flip_test(differences: ArrayLike, *, n_resamples: int = 100_000, seed: int = 0) -> SignFlipTest:
    """Test a mean difference over patients by flipping signs.

    Without an effect a patient's mean difference is as likely to be d as −d. p is the share of sign patterns
    whose mean is at least as far from zero as the one found. No distribution is assumed, but symmetry.

    The trainings are taken as given: it speaks of new patients for *these* trained models. Repeats are averaged
    within each patient, so a training that was lucky for all patients looks like an effect. In simulations of
    the null with 3 repeats, at a level of 5 %, it rejects 4 % where trainings do not differ, but where they
    differ half as much as patients do, 15 % with 12 patients and 28 % with 30. `crossed_difference` and
    `mixed_model` draw both.

    Source: Fisher 1935, The Design of Experiments, § 21; `scipy.stats.permutation_test` with
    permutation_type="samples". Monte Carlo p-values count the table itself and are never 0: Phipson & Smyth
    2010 (doi 10.2202/1544-6115.1585).

    Args:
        differences: one arm minus the other, shape (P patients,) or (P patients, K repeats). NaN is a missing
            cell: a repeat without any value is dropped first, then every patient with a missing cell; the note
            counts both.
        n_resamples: up to how many patterns are tried: all of them if they are no more (by default up to 16
            patients), otherwise this many at random.
        seed: of the random patterns; without influence where all are tried.

    Returns:
        The test. All differences zero: p = 1. Fewer than two patients: p is NaN.

    Raises:
        ValueError: if the differences have another shape, or one of them is infinite.
    """
    means, n_repeats, notes = patient_means(differences)
    n = means.size
    if n < 2:
        mean = float(means.mean()) if n else nan
        return SignFlipTest(mean, nan, False, n, n_repeats, " ".join([*notes, NO_TEST]))
    notes += few_patients(int((means != 0).sum()))
    # Takes a quarter of a second to come, and not all of the package needs it.
    from scipy.stats import permutation_test

    found = permutation_test(
        (means,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=n_resamples,
        batch=10_000,
        rng=np.random.default_rng(seed),
    )
    return SignFlipTest(float(means.mean()), float(found.pvalue), 2**n <= n_resamples, n, n_repeats, " ".join(notes))

"""Is one arm better, by the ranks of the patients' differences?"""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionseg.stats._table import NO_TEST, few_patients, patient_means


@dataclass(frozen=True)
class WilcoxonTest:
    """The signed-rank test of the patients' differences.

    Attributes:
        median: of the patients' differences, in their units; NaN without patients.
        statistic: the smaller one of the sums of ranks of positive and of negative differences, ≥ 0; NaN with
            fewer than two patients.
        p: two-sided, 0 … 1, not adjusted for other comparisons; NaN with fewer than two patients.
        n_patients: patients that it rests on, those with every repeat.
        n_zero: those among them without a difference.
        n_repeats: repeats that each patient's mean is over.
        note: what the reader has to know, one sentence after another; empty where nothing.
    """

    median: float
    statistic: float
    p: float
    n_patients: int
    n_zero: int
    n_repeats: int
    note: str = ""


def wilcoxon_test(differences: ArrayLike) -> WilcoxonTest:
    """Wilcoxon's signed-rank test on each patient's mean over repeats.

    Zeros are ranked with the others and then left out (Pratt), so that patients without a difference weaken the
    evidence instead of vanishing from it. p is exact up to 50 patients where there is neither a tie nor a zero,
    exact given the ties up to 13 patients, and otherwise from the normal distribution, corrected for ties
    (`scipy.stats.wilcoxon`, method "auto"). Differences that are the same but for rounding count as ties: all
    are rounded to 12 digits of the largest.

    The trainings are taken as given, as in `sign_flip_test`.

    With m patients who differ, an exact p is never below 2^(1 − m): fewer than six cannot reach 0.05, and the
    note says so.

    Source: Wilcoxon 1945 (doi 10.2307/3001968), Pratt 1959 (doi 10.1080/01621459.1959.10501526), Cureton 1967
    (doi 10.1080/01621459.1967.10500917).

    Args:
        differences: one arm minus the other, shape (P patients,) or (P patients, K repeats). NaN is a missing
            cell: a repeat without any value is dropped first, then every patient with a missing cell; the note
            counts both.

    Returns:
        The test. All differences zero: statistic 0, p = 1. Fewer than two patients: NaN.

    Raises:
        ValueError: if the differences have another shape, or one of them is infinite.
    """
    means, n_repeats, notes = patient_means(differences)
    n = means.size
    if n < 2:
        median = float(means[0]) if n else nan
        return WilcoxonTest(median, nan, nan, n, int((means == 0).sum()), n_repeats, " ".join([*notes, NO_TEST]))
    ranked = _without_rounding(means)
    n_zero = int((ranked == 0).sum())
    notes += few_patients(n - n_zero)
    statistic, p = _signed_rank(ranked) if n_zero < n else (0.0, 1.0)
    return WilcoxonTest(float(np.median(means)), statistic, p, n, n_zero, n_repeats, " ".join(notes))


def _without_rounding(means: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = np.abs(means).max()
    return np.round(means / largest, 12) if largest else means


def _signed_rank(differences: NDArray[np.float64]) -> tuple[float, float]:
    # Takes a quarter of a second to come, and not all of the package needs it.
    from scipy.stats import wilcoxon

    found = wilcoxon(differences, zero_method="pratt")
    return float(found.statistic), float(found.pvalue)

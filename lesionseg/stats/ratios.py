"""A share of all lesions, such as pooled sensitivity, with an error over patients."""

from dataclasses import dataclass
from math import nan, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

ONE_PATIENT = "Fewer than two patients have a trial: no standard error."
SAME_RATIO = "Every patient has the same ratio: there is no spread to tell an error from."


@dataclass(frozen=True)
class ClusteredRatio:
    """Successes over trials of all patients together.

    Attributes:
        ratio: pooled, 0 … 1; NaN without trials.
        standard_error: over new patients; NaN where it cannot be had.
        low: lower end of the 95 % interval, 0 at the least; NaN likewise.
        high: upper end, 1 at the most.
        n_patients: patients with at least one trial.
        note: what limits the result; empty where nothing does.
    """

    ratio: float
    standard_error: float
    low: float
    high: float
    n_patients: int
    note: str = ""


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

"""Learning curves: a score over training-set sizes, as a curve that never falls or as a power law."""

import warnings
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike, NDArray

STEEPEST = 5.0
NOT_FITTED = "The power law could not be fitted."
AS_MANY_PARAMETERS = "Three sizes for three parameters: nothing is left to judge the fit by."
FLAT = "The scores do not rise with the size: the curve is their mean."
AT_BOUND = "The exponent is at its bound: these sizes do not tell where the curve is heading."


@dataclass(frozen=True, eq=False)
class IsotonicCurve:
    """The non-decreasing curve nearest to the scores.

    Attributes:
        sizes: training-set sizes with a score, ascending; shape (S,).
        fitted: the curve at these sizes, non-decreasing, in the units of the scores; shape (S,).
    """

    sizes: NDArray[np.float64]
    fitted: NDArray[np.float64]


def isotonic_curve(sizes: ArrayLike, scores: ArrayLike) -> IsotonicCurve:
    """Fit a curve that never falls, by least squares; no shape is assumed, and none beyond the sizes.

    Source: Barlow et al. 1972, Statistical Inference under Order Restrictions (pool adjacent violators);
    `scipy.optimize.isotonic_regression`.

    Args:
        sizes: training studies, above 0, ascending; shape (S,).
        scores: mean score at each size; shape (S,). NaN is a size without a score, and is left out.

    Returns:
        The curve; an empty one if there is no score.

    Raises:
        ValueError: sizes or scores are not as described.
    """
    n, y = scored_sizes(sizes, scores)
    if not n.size:
        return IsotonicCurve(n, y)
    from scipy.optimize import isotonic_regression  # takes a tenth of a second to import

    return IsotonicCurve(n, np.asarray(isotonic_regression(y).x, dtype=np.float64))


@dataclass(frozen=True, eq=False)
class PowerLawCurve:
    """score(n) = a − b·n^(−c).

    Attributes:
        a: where the curve is heading, in the units of the scores; not an estimate of what more data would give.
        b: ≥ 0, in the units of the scores; 0 where they do not rise.
        c: how fast it gets there, 0 … 5; 0 where b is.
        sizes: training-set sizes with a score, ascending; shape (S,).
        note: what limits the fit, one sentence after another; empty where nothing does.
    """

    a: float
    b: float
    c: float
    sizes: NDArray[np.float64]
    note: str = ""

    def at(self, sizes: ArrayLike) -> NDArray[np.float64]:
        """Return the curve at any sizes; NaN outside of those that were observed, and where it was not fitted."""
        asked = np.asarray(sizes, dtype=np.float64)
        result = np.full(asked.shape, nan)
        if self.sizes.size:
            inside = (asked >= self.sizes[0]) & (asked <= self.sizes[-1])
            result[inside] = self.a - self.b * asked[inside] ** -self.c
        return result


def power_law_curve(sizes: ArrayLike, scores: ArrayLike) -> PowerLawCurve:
    """Fit score(n) = a − b·n^(−c) by least squares, with b ≥ 0 and 0 ≤ c ≤ 5.

    Source: Figueroa et al. 2012 (doi 10.1186/1472-6947-12-8), Viering & Loog 2023
    (doi 10.1109/TPAMI.2022.3220744); `scipy.optimize.curve_fit`.

    Args:
        sizes: training studies, above 0, ascending; shape (S,).
        scores: mean score at each size; shape (S,). NaN is a size without a score, and is left out.

    Returns:
        The curve. Fewer than three sizes with a score, or no fit: a, b, c and the curve are NaN, with the reason
        in the note. The note also says where the fit tells little: three sizes, scores that do not rise, or an
        exponent at its bound.

    Raises:
        ValueError: sizes or scores are not as described.
    """
    n, y = scored_sizes(sizes, scores)
    if n.size < 3:
        note = f"A power law has three parameters and takes three sizes, found {n.size}."
        return PowerLawCurve(nan, nan, nan, n, note)
    # In units of the smallest size b and c are kept apart.
    parameters = (float(y[0]), 0.0, 0.0) if np.ptp(y) == 0 else _fit_power_law(n / n[0], y)
    if parameters is None:
        return PowerLawCurve(nan, nan, nan, n, NOT_FITTED)
    a, scaled, c = parameters
    b = scaled * float(n[0]) ** c
    notes = [AS_MANY_PARAMETERS] if n.size == 3 else []
    if np.ptp(a - b * n**-c) <= 1e-6 * np.ptp(y):
        return PowerLawCurve(float(y.mean()), 0.0, 0.0, n, " ".join([*notes, FLAT]))
    notes += [AT_BOUND] * (not 0.01 < c < 0.99 * STEEPEST)
    return PowerLawCurve(a, b, c, n, " ".join(notes))


def _fit_power_law(ratio: NDArray[np.float64], scores: NDArray[np.float64]) -> tuple[float, float, float] | None:
    from scipy.optimize import curve_fit  # takes a tenth of a second to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the covariance is unknown, which is not asked for
        try:
            (a, b, c), _ = curve_fit(
                lambda n, a, b, c: a - b * n**-c,
                ratio,
                scores,
                p0=(float(scores.max()), float(np.ptp(scores)), 0.5),
                bounds=((-np.inf, 0, 0), (np.inf, np.inf, STEEPEST)),
                max_nfev=10_000,
            )
        except RuntimeError:
            return None
    return float(a), float(b), float(c)


def ascending_sizes(sizes: ArrayLike) -> NDArray[np.float64]:
    """Return the sizes as floats; raise ValueError unless they are above 0, finite and ascending, shape (S,)."""
    array = np.asarray(sizes, dtype=np.float64)
    if array.ndim != 1 or not (np.isfinite(array) & (array > 0)).all() or (np.diff(array) <= 0).any():
        raise ValueError(f"sizes must be one-dimensional, above 0, finite and ascending (got {array.tolist()})")
    return array


def scored_sizes(sizes: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sizes that have a score, and their scores."""
    array, values = ascending_sizes(sizes), np.asarray(scores, dtype=np.float64)
    if values.shape != array.shape:
        raise ValueError(f"scores must have one value per size (got {values.shape} for {array.shape} sizes)")
    if np.isinf(values).any():
        raise ValueError("scores must be finite or NaN (got an infinite one)")
    scored = ~np.isnan(values)
    return array[scored], values[scored]

"""A learning curve as a power law, for the eye and for between the sizes."""

import warnings
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionseg.stats._learning_curve import as_curve

STEEPEST = 5.0
NOT_FITTED = "The power law could not be fitted."
AS_MANY_PARAMETERS = "Three sizes for three parameters: nothing is left to judge the fit by."
FLAT = "The scores do not rise with the size: the curve is their mean."
AT_BOUND = "The exponent is at its bound: these sizes do not tell where the curve is heading."


@dataclass(frozen=True, eq=False)
class PowerLawCurve:
    """score(n) = a − b·n^(−c).

    Attributes:
        a: where the curve is heading, in the units of the scores; not an estimate of what more data would give.
        b: ≥ 0, in the units of the scores; 0 where they do not rise.
        c: how fast it gets there, 0 … 5; 0 where b is.
        sizes: training-set sizes with a score, ascending; shape (S,).
        fitted: the curve at these sizes; shape (S,).
        note: what the reader has to know, one sentence after another; empty where nothing.
    """

    a: float
    b: float
    c: float
    sizes: NDArray[np.float64]
    fitted: NDArray[np.float64]
    note: str = ""

    def at(self, sizes: ArrayLike) -> NDArray[np.float64]:
        """The curve at any sizes; NaN outside of those that were observed, and everywhere where it was not fitted."""
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
        ValueError: if sizes or scores are not as described.
    """
    array, values = as_curve(sizes, scores)
    scored = ~np.isnan(values)
    n, y = array[scored], values[scored]
    if n.size < 3:
        return _unfitted(n, f"A power law has three parameters and takes three sizes, found {n.size}.")
    parameters = _fit(n / n[0], y)
    if parameters is None:
        return _unfitted(n, NOT_FITTED)
    a, scaled, c = parameters
    b = scaled * float(n[0]) ** c
    fitted = a - b * n**-c
    notes = [AS_MANY_PARAMETERS] if n.size == 3 else []
    if np.ptp(fitted) <= 1e-6 * np.ptp(y):
        mean = float(y.mean())
        return PowerLawCurve(mean, 0.0, 0.0, n, np.full(n.shape, mean), " ".join([*notes, FLAT]))
    if not 0.01 < c < 0.99 * STEEPEST:
        notes.append(AT_BOUND)
    return PowerLawCurve(a, b, c, n, fitted, " ".join(notes))


def _fit(ratio: NDArray[np.float64], scores: NDArray[np.float64]) -> tuple[float, float, float] | None:
    """a, b and c for sizes in units of the smallest one, which keeps b and c apart."""
    # Takes a tenth of a second to come, and not all of the package needs it.
    from scipy.optimize import curve_fit

    if np.ptp(scores) == 0:
        return float(scores[0]), 0.0, 0.0
    start = (float(scores.max()), float(np.ptp(scores)), 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the covariance is unknown, which is not asked for
        try:
            (a, b, c), _ = curve_fit(
                lambda n, a, b, c: a - b * n**-c,
                ratio,
                scores,
                p0=start,
                bounds=((-np.inf, 0, 0), (np.inf, np.inf, STEEPEST)),
                max_nfev=10_000,
            )
        except RuntimeError:
            return None
    return float(a), float(b), float(c)


def _unfitted(sizes: NDArray[np.float64], note: str) -> PowerLawCurve:
    return PowerLawCurve(nan, nan, nan, sizes, np.full(sizes.shape, nan), note)

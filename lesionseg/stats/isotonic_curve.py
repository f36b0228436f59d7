"""A learning curve of which no more is assumed than that more data do no harm."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionseg.stats._learning_curve import as_curve, interpolate


@dataclass(frozen=True, eq=False)
class IsotonicCurve:
    """The non-decreasing curve nearest to the scores.

    Attributes:
        sizes: training-set sizes with a score, ascending; shape (S,).
        fitted: the curve at these sizes, non-decreasing, in the units of the scores; shape (S,).
    """

    sizes: NDArray[np.float64]
    fitted: NDArray[np.float64]

    def at(self, sizes: ArrayLike) -> NDArray[np.float64]:
        """The curve at any sizes, linear in log n between the fitted ones; NaN outside of them."""
        return interpolate(sizes, self.sizes, self.fitted)


def isotonic_curve(sizes: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> IsotonicCurve:
    """Fit a curve that never falls, by weighted least squares; no shape is assumed, and none beyond the sizes.

    Where scores fall from one size to the next, both get their weighted mean.

    Source: Barlow et al. 1972, Statistical Inference under Order Restrictions (pool adjacent violators);
    `scipy.optimize.isotonic_regression`.

    Args:
        sizes: training studies, above 0, ascending; shape (S,).
        scores: mean score at each size; shape (S,). NaN is a size without a score, and is left out.
        weights: of each score, above 0, such as the number of values that it is the mean of; shape (S,).
            Equal by default.

    Returns:
        The curve; an empty one if there is no score.

    Raises:
        ValueError: if sizes, scores or weights are not as described.
    """
    array, values = as_curve(sizes, scores)
    weight = np.ones_like(array) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.shape != array.shape or not (np.isfinite(weight) & (weight > 0)).all():
        raise ValueError(f"Weights must be one per size, above 0 and finite, found {weight.tolist()}.")
    scored = ~np.isnan(values)
    if not scored.any():
        return IsotonicCurve(np.empty(0), np.empty(0))
    # Takes a tenth of a second to come, and not all of the package needs it.
    from scipy.optimize import isotonic_regression

    fitted = isotonic_regression(values[scored], weights=weight[scored]).x
    return IsotonicCurve(array[scored], np.asarray(fitted, dtype=np.float64))

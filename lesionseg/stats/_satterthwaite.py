"""How much a mean's standard error is itself known, where it rests on several variance components."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def satterthwaite_df(
    indicators: Sequence[NDArray[np.float64]], variances: Sequence[float], residual_variance: float, n: int
) -> float:
    """Degrees of freedom of t for the mean of n values with crossed random effects; 1 at the least.

    V, the variance of the generalised least-squares mean, is a function of the variance components, whose
    estimates have the covariance A, the inverse of their expected REML information ½ tr(P Gi P Gj). Matching
    the first two moments of a χ² gives 2·V² / (gᵀ A g), where g is the gradient of V. For a complete table it
    is Satterthwaite's own formula on mean squares.

    Source: Giesbrecht & Burns 1985 (doi 10.2307/2530872), Fai & Cornelius 1996 (doi 10.1080/00949659608811740).

    Args:
        indicators: of each random factor, shape (n, levels), 1 where a value belongs to a level.
        variances: of each factor, above 0.
        residual_variance: above 0.
        n: number of values.
    """
    effects = [*indicators, np.eye(n)]
    covariance = sum(
        variance * effect @ effect.T for variance, effect in zip([*variances, residual_variance], effects, strict=True)
    )
    precision = np.linalg.inv(covariance)
    weights = precision.sum(axis=1)
    variance_of_mean = 1 / weights.sum()
    projection = precision - variance_of_mean * np.outer(weights, weights)
    gradient = variance_of_mean**2 * np.array([((effect.T @ weights) ** 2).sum() for effect in effects])
    information = [[((first.T @ projection @ second) ** 2).sum() / 2 for second in effects] for first in effects]
    uncertainty = gradient @ np.linalg.solve(np.array(information), gradient)
    return max(float(2 * variance_of_mean**2 / uncertainty), 1.0)

"""Variance components of crossed factors by restricted maximum likelihood, through statsmodels."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import isfinite, log, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAME_LIKELIHOOD = 1e-6


@dataclass(frozen=True)
class Components:
    """Where the restricted likelihood is highest.

    Attributes:
        mean: generalised least-squares mean.
        standard_error: of the mean, given the variances.
        variances: of each factor that is above zero.
        residual_variance: above 0.
        log_likelihood: restricted.
        converged: whether the optimiser says that it is a maximum.
    """

    mean: float
    standard_error: float
    variances: dict[str, float]
    residual_variance: float
    log_likelihood: float
    converged: bool


def fit_components(values: NDArray[np.float64], factors: Mapping[str, NDArray[np.float64]]) -> Components:
    """Fit values = mean + one random effect per factor + residual.

    MixedLM searches over the square roots of variances, whose gradient vanishes at zero, so that it may stop at
    zero by accident or short of it, and a variance of exactly zero makes its matrices singular. Therefore each
    subset of the factors is fitted as a model of its own, from the variance of the factor's level means, and
    the highest likelihood is taken; among equals the model with the fewest factors.

    Args:
        values: shape (n,), of about unit variance, which the optimiser's tolerances are made for; not all the same.
        factors: by name an indicator matrix, shape (n, levels), with 1 < levels < n, which together leave
            a residual.
    """
    fits = [_without_factors(values)]
    starts = _level_variances(values, factors)
    for count in range(1, len(factors) + 1):
        for names in combinations(factors, count):
            fit = _mixed_lm(values, {name: factors[name] for name in names}, [starts[name] for name in names])
            if fit is not None:
                fits.append(fit)
    highest = max(fit.log_likelihood for fit in fits)
    best = [fit for fit in fits if fit.log_likelihood >= highest - SAME_LIKELIHOOD]
    return min(best, key=lambda fit: (not fit.converged, len(fit.variances)))


def _without_factors(values: NDArray[np.float64]) -> Components:
    n, variance = values.size, float(values.var(ddof=1))
    log_likelihood = -((n - 1) * (log(2 * pi * variance) + 1) + log(n)) / 2
    return Components(float(values.mean()), sqrt(variance / n), {}, variance, log_likelihood, True)


def _level_variances(values: NDArray[np.float64], factors: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Variance of each factor's level means in units of the residual's; above what the factor itself has."""
    if not factors:
        return {}
    design = np.hstack(list(factors.values()))
    solution, _, rank, _ = np.linalg.lstsq(design, values)
    residual = ((values - design @ solution) ** 2).sum() / (values.size - rank)
    return {
        name: float(np.var(levels.T @ values / levels.sum(axis=0), ddof=1) / residual)
        for name, levels in factors.items()
    }


def _mixed_lm(
    values: NDArray[np.float64], factors: Mapping[str, NDArray[np.float64]], starts: list[float]
) -> Components | None:
    """One model's fit; None where a singular matrix ended it or it has no likelihood."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Takes a quarter of a second to come, and brings pandas. Its first import asks for its warnings to be shown.
        from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMParams, VCSpec

        warnings.simplefilter("ignore")  # what they tell is in `converged` and in the choice among models
        n = np.ones(values.size)
        labels = [[[f"{name}{level}" for level in range(matrix.shape[1])]] for name, matrix in factors.items()]
        components = VCSpec(list(factors), labels, [[matrix] for matrix in factors.values()])
        start = MixedLMParams.from_components(fe_params=np.zeros(1), vcomp=np.array(starts))
        try:
            # One group of all values: within it, factors may cross.
            fit: Any = MixedLM(values, n[:, None], n, exog_vc=components).fit(start_params=start, reml=True)
            mean, error, likelihood = float(fit.fe_params[0]), float(fit.bse_fe[0]), float(fit.llf)
        except np.linalg.LinAlgError:
            return None
    if not isfinite(likelihood) or not isfinite(error):
        return None
    variances = {name: float(variance) for name, variance in zip(factors, fit.vcomp, strict=True)}
    return Components(mean, error, variances, float(fit.scale), likelihood, bool(fit.converged))

"""Variance components: the maximum in closed form for complete tables, and by a grid where cells are missing."""

import numpy as np
import pytest

from lesionseg.stats._reml import fit_components
from lesionseg.stats.paired import mean_squares


def _indicators(present: np.ndarray) -> dict[str, np.ndarray]:
    patients, repeats = np.nonzero(present)
    return {"patient": np.eye(present.shape[0])[patients], "repeat": np.eye(present.shape[1])[repeats]}


def _log_likelihood(values: np.ndarray, factors: dict[str, np.ndarray], ratios: tuple[float, float]) -> float:
    """Restricted, at the best residual variance, straight from its definition."""
    n = values.size
    shape = np.eye(n) + sum(ratio * z @ z.T for ratio, z in zip(ratios, factors.values(), strict=True))
    precision = np.linalg.inv(shape)
    information = precision.sum()
    residual = values - precision.sum(axis=0) @ values / information
    scale = residual @ precision @ residual / (n - 1)
    determinants = np.linalg.slogdet(shape)[1] + np.log(information)
    return -((n - 1) * (np.log(2 * np.pi * scale) + 1) + determinants) / 2


@pytest.mark.parametrize("training", [0.3, 1.0, 10.0])
def test_a_complete_table_gives_the_mean_squares(training):
    random = np.random.default_rng(4)
    table = random.normal(size=(10, 1)) + training * random.normal(size=(1, 4)) + random.normal(size=(10, 4))
    table /= table.std()
    patients, repeats, residual = mean_squares(table)
    assert residual < min(patients, repeats)
    found = fit_components(table.ravel(), _indicators(np.ones_like(table, dtype=bool)))
    assert found.converged
    assert found.residual_variance == pytest.approx(residual, rel=3e-3)
    assert found.variances["patient"] == pytest.approx((patients - residual) / 4, rel=3e-3)
    assert found.variances["repeat"] == pytest.approx((repeats - residual) / 10, rel=3e-3)
    assert found.standard_error == pytest.approx(np.sqrt((patients + repeats - residual) / 40), rel=3e-3)


def test_a_component_at_zero_is_left_out():
    random = np.random.default_rng(2)
    table = random.normal(size=(10, 1)) + random.normal(size=(10, 3))
    table /= table.std()
    patients, repeats, residual = mean_squares(table)
    assert repeats < residual
    found = fit_components(table.ravel(), _indicators(np.ones_like(table, dtype=bool)))
    assert list(found.variances) == ["patient"]
    assert found.converged
    assert found.standard_error == pytest.approx(np.sqrt(patients / 30), rel=1e-3)


def test_no_factor_at_all_is_the_standard_error_of_the_mean():
    values = np.random.default_rng(0).normal(size=9)
    found = fit_components(values, {})
    assert (found.mean, found.variances) == (values.mean(), {})
    assert found.standard_error == pytest.approx(values.std(ddof=1) / 3)


@pytest.mark.parametrize("seed", range(4))
def test_no_grid_point_is_more_likely(seed):
    random = np.random.default_rng(seed)
    table = random.normal(size=(8, 1)) + 0.4 * random.normal(size=(1, 4)) + random.normal(size=(8, 4))
    present = random.random(table.shape) > 0.3
    values, factors = table[present] / table.std(), _indicators(present)
    found = fit_components(values, factors)
    grid = [0.0, *np.geomspace(1e-3, 100, 25)]
    best = max(_log_likelihood(values, factors, (first, second)) for first in grid for second in grid)
    assert found.log_likelihood >= best - 1e-5
    at = tuple(found.variances.get(name, 0.0) / found.residual_variance for name in factors)
    assert found.log_likelihood == pytest.approx(_log_likelihood(values, factors, at), abs=1e-5)

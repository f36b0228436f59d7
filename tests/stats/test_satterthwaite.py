"""Degrees of freedom: against the formulas for complete tables."""

import numpy as np
import pytest

from lesionseg.stats._satterthwaite import satterthwaite_df


def test_without_factors_it_is_n_minus_1():
    assert satterthwaite_df([], [], 2.5, 12) == pytest.approx(11)


def test_with_one_factor_it_is_levels_minus_1():
    patients = np.eye(6)[np.repeat(np.arange(6), 3)]
    assert satterthwaite_df([patients], [0.7], 1.3, 18) == pytest.approx(5)


@pytest.mark.parametrize("variances", [(1.0, 0.5, 0.2), (0.1, 2.0, 1.0)])
def test_with_two_factors_it_is_satterthwaites_own_on_mean_squares(variances):
    n_patients, n_repeats = 7, 4
    patient, repeat, residual = variances
    patients, repeats = np.indices((n_patients, n_repeats)).reshape(2, -1)
    squares = np.array([residual + n_repeats * patient, residual + n_patients * repeat, -residual])
    df = np.array([n_patients - 1, n_repeats - 1, (n_patients - 1) * (n_repeats - 1)])
    found = satterthwaite_df([np.eye(n_patients)[patients], np.eye(n_repeats)[repeats]], variances[:2], residual, 28)
    assert found == pytest.approx(squares.sum() ** 2 / (squares**2 / df).sum())


def test_never_below_1():
    patients, repeats = np.indices((30, 2)).reshape(2, -1)
    assert satterthwaite_df([np.eye(30)[patients], np.eye(2)[repeats]], [1.0, 0.2], 1.0, 60) >= 1

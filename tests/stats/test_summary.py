"""Mean and standard error: by hand, against scipy, and with nothing to measure."""

from math import isnan, nan

import numpy as np
import pytest
from scipy import stats

from lesionseg.stats import summarise


def test_by_hand():
    found = summarise([1.0, 2.0, 6.0, nan])
    assert found.mean == 3.0
    assert found.standard_error == pytest.approx(np.sqrt((4 + 1 + 9) / 2 / 3))
    assert (found.n, found.n_undefined) == (3, 1)


def test_scipy_agrees():
    values = np.random.default_rng(0).normal(size=20)
    assert summarise(values).standard_error == pytest.approx(stats.sem(values))


def test_one_patient_has_a_mean_and_no_error():
    found = summarise([0.5])
    assert found.mean == 0.5
    assert isnan(found.standard_error)


@pytest.mark.parametrize("values", [[], [nan, nan]])
def test_no_patient_is_nan(values):
    found = summarise(values)
    assert isnan(found.mean)
    assert isnan(found.standard_error)
    assert (found.n, found.n_undefined) == (0, len(values))


def test_a_table_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        summarise([[1.0, 2.0], [3.0, 4.0]])

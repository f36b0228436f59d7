"""Learning curves from the means of a comparison."""

import numpy as np
import pytest

from lesionseg.report import compare


def curve(case_grid, values, score="lesion_f1"):
    found = compare(case_grid(values), ("scratch",)).curves
    return next(one for one in found if one.score == score)


def test_a_curve_has_the_means_their_intervals_and_every_repeat(case_grid):
    found = curve(case_grid, {("scratch", 2): [[0.1, 0.3], [0.2, 0.4]], ("scratch", 5): [[0.5, 0.7]]})
    assert found.sizes == (2, 5)
    assert found.means == pytest.approx((0.25, 0.6))
    assert list(found.by_repeat) == [0, 1]
    np.testing.assert_allclose(found.by_repeat[1], [0.3, np.nan])
    assert found.low[1] < 0.6 < found.high[1]


def test_the_isotonic_curve_never_falls_and_the_power_law_ends_with_the_sizes(case_grid):
    values = {("scratch", size): [[mean] * 2] for size, mean in ((2, 0.2), (4, 0.5), (8, 0.4), (16, 0.6))}
    found = curve(case_grid, values)
    np.testing.assert_allclose(found.isotonic.fitted, [0.2, 0.45, 0.45, 0.6])
    assert np.isfinite(found.power_law.at([2, 16])).all()
    assert np.isnan(found.power_law.at([1, 17])).all()


def test_few_sizes_have_no_curve_through_them(case_grid):
    two = curve(case_grid, {("scratch", 2): [[0.2, 0.3]], ("scratch", 5): [[0.4, 0.5]]})
    assert (two.isotonic is None, two.power_law) == (False, None)
    one = curve(case_grid, {("scratch", 2): [[0.2, 0.3]]})
    assert (one.isotonic, one.power_law) == (None, None)

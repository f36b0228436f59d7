"""The isotonic curve: by hand, SciPy's documented example, and what it is by definition."""

from math import nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionseg.stats import isotonic_curve


def test_by_hand():
    found = isotonic_curve([5, 10, 20, 40], [0.1, 0.5, 0.3, 0.6])
    np.testing.assert_allclose(found.fitted, [0.1, 0.4, 0.4, 0.6])
    np.testing.assert_array_equal(found.sizes, [5, 10, 20, 40])


def test_the_example_of_scipys_documentation():
    # From the paper that scipy.optimize.isotonic_regression cites: Busing 2022.
    found = isotonic_curve(range(1, 8), [1.5, 1.0, 4.0, 6.0, 5.7, 5.0, 7.8])
    np.testing.assert_allclose(found.fitted, [1.25, 1.25, 4.0, 16.7 / 3, 16.7 / 3, 16.7 / 3, 7.8])


def test_a_size_without_a_score_is_left_out():
    curve = isotonic_curve([5, 10, 20], [0.1, nan, 0.3])
    np.testing.assert_array_equal(curve.sizes, [5, 20])
    np.testing.assert_array_equal(curve.fitted, [0.1, 0.3])


@pytest.mark.parametrize(("sizes", "scores"), [([], []), ([5, 10], [nan, nan])])
def test_nothing_to_fit(sizes, scores):
    curve = isotonic_curve(sizes, scores)
    assert curve.fitted.size == 0


def test_one_size_and_equal_scores():
    np.testing.assert_array_equal(isotonic_curve([5], [0.3]).fitted, [0.3])
    np.testing.assert_array_equal(isotonic_curve([5, 10, 20], [0.3] * 3).fitted, [0.3] * 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([10, 5], [0, 1]), r"sizes must be .* ascending \(got \[10.0, 5.0\]\)"),
        (([5, 5], [0, 1]), "ascending"),
        (([0, 5], [0, 1]), r"got \[0.0, 5.0\]"),
        (([[5, 10]], [0, 1]), "one-dimensional"),
        (([5, 10], [0]), r"one value per size \(got \(1,\) for \(2,\) sizes\)"),
        (([5, 10], [0, np.inf]), "got an infinite one"),
    ],
)
def test_what_is_no_curve_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        isotonic_curve(*arguments)


SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=7)


@settings(max_examples=60, deadline=None)
@given(SCORES)
def test_it_never_falls_keeps_the_mean_and_leaves_a_rising_curve_alone(scores):
    sizes = 2.0 ** np.arange(len(scores))
    fitted = isotonic_curve(sizes, scores).fitted
    assert (np.diff(fitted) >= 0).all()
    assert fitted.mean() == pytest.approx(np.mean(scores))
    np.testing.assert_allclose(isotonic_curve(sizes, np.sort(scores)).fitted, np.sort(scores))


def test_it_is_nearer_to_the_truth_than_the_scores():
    random = np.random.default_rng(0)
    sizes = np.array([5, 10, 20, 40, 80])
    truth = 0.8 - 0.9 * sizes**-0.7
    noisy = truth + random.normal(0, 0.1, size=(300, 5))
    fitted = np.array([isotonic_curve(sizes, scores).fitted for scores in noisy])
    assert ((fitted - truth) ** 2).mean() < 0.9 * ((noisy - truth) ** 2).mean()

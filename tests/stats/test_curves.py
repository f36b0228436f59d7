"""The isotonic curve: by hand, SciPy's documented example, and what it is by definition."""

from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionseg.stats import isotonic_curve, power_law_curve


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


SIZES = np.array([5.0, 10, 20, 40, 80])


@pytest.mark.parametrize(("a", "b", "c"), [(0.8, 0.9, 0.7), (0.6, 2.0, 1.5), (100.0, 50.0, 0.4)])
def test_a_power_law_is_found_again(a, b, c):
    found = power_law_curve(SIZES, a - b * SIZES**-c)
    assert (found.a, found.b, found.c) == (
        pytest.approx(a, rel=1e-4),
        pytest.approx(b, rel=1e-4),
        pytest.approx(c, rel=1e-4),
    )
    np.testing.assert_allclose(found.at(found.sizes), a - b * SIZES**-c, rtol=1e-6)
    assert found.note == ""


def test_between_sizes_it_is_the_law_and_outside_it_is_nan():
    found = power_law_curve(SIZES, 0.8 - 0.9 * SIZES**-0.7)
    np.testing.assert_allclose(
        found.at([4.9, 5, 30, 80, 81]), [nan, 0.8 - 0.9 * 5**-0.7, 0.8 - 0.9 * 30**-0.7, 0.758113, nan], rtol=1e-5
    )
    assert found.at(30).shape == ()


def test_three_sizes_are_fitted_exactly_and_judge_nothing():
    found = power_law_curve([10, 20, 40], [0.3, 0.45, 0.5])
    np.testing.assert_allclose(found.at(found.sizes), [0.3, 0.45, 0.5], atol=1e-6)
    assert "nothing is left to judge the fit by" in found.note


@pytest.mark.parametrize(
    ("sizes", "scores", "count"), [([], [], 0), ([5, 10], [0.1, 0.2], 2), ([5, 10, 20], [0.1, nan, 0.3], 2)]
)
def test_fewer_than_three_sizes_are_not_fitted(sizes, scores, count):
    found = power_law_curve(sizes, scores)
    assert isnan(found.a)
    assert isnan(found.b)
    assert isnan(found.c)
    assert np.isnan(found.at(found.sizes)).all()
    assert np.isnan(found.at([5, 7])).all()
    assert found.note == f"A power law has three parameters and takes three sizes, found {count}."


@pytest.mark.parametrize("scores", [[0.4, 0.4, 0.4, 0.4], [0.6, 0.5, 0.3, 0.2]])
def test_scores_that_do_not_rise_are_their_mean(scores):
    found = power_law_curve([5, 10, 20, 40], scores)
    assert (found.b, found.c) == (0, 0)
    np.testing.assert_allclose(found.at([5, 12, 40]), 0.4)
    assert "do not rise" in found.note


@pytest.mark.parametrize("scores", [[0.1, 0.5, 0.5, 0.5], [0.1, 0.2, 0.3, 0.4]], ids=["a step", "a line in log n"])
def test_an_exponent_at_its_bound_is_told(scores):
    found = power_law_curve([5, 10, 20, 40], scores)
    np.testing.assert_allclose(found.at(found.sizes), scores, atol=0.01)
    assert "exponent is at its bound" in found.note


def test_a_fit_that_fails_is_told(monkeypatch):
    def fail(*_args, **_options):
        raise RuntimeError("no optimum")

    monkeypatch.setattr("scipy.optimize.curve_fit", fail)
    found = power_law_curve(SIZES, 0.8 - 0.9 * SIZES**-0.7)
    assert isnan(found.a)
    assert found.note == "The power law could not be fitted."


def test_what_is_no_curve_is_refused_power():
    with pytest.raises(ValueError, match="ascending"):
        power_law_curve([10, 5, 20], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="one value per size"):
        power_law_curve([10, 20, 40], [0.1, 0.2])

"""The power law: curves that are one, curves that are none, and what three sizes can tell."""

from math import isnan, nan

import numpy as np
import pytest

from lesionseg.stats import power_law_curve

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


def test_noise_moves_it_little():
    random = np.random.default_rng(0)
    truth = 0.8 - 0.9 * SIZES**-0.7
    errors = [power_law_curve(SIZES, truth + random.normal(0, 0.02, 5)).at(SIZES) - truth for _ in range(60)]
    assert np.sqrt(np.mean(np.square(errors))) < 0.02, "the fit is nearer than the scores"
    assert np.abs(np.mean(errors, axis=0)).max() < 0.01


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


def test_what_is_no_curve_is_refused():
    with pytest.raises(ValueError, match="ascending"):
        power_law_curve([10, 5, 20], [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="one value per size"):
        power_law_curve([10, 20, 40], [0.1, 0.2])

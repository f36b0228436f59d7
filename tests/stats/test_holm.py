"""Holm's adjustment: by hand, R's p.adjust, comparisons without a test, and the family's error rate."""

import gc
from collections.abc import Iterator
from math import nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionseg.stats import holm


@pytest.fixture(autouse=True)
def _nothing_to_collect() -> Iterator[None]:
    """multipletests collects garbage at every call, which takes long where a test run has left much."""
    gc.freeze()
    yield
    gc.unfreeze()


def test_by_hand():
    # In order: 0.005·4, 0.01·3, 0.03·2, 0.04·1, and none below the one before.
    found = holm([0.01, 0.04, 0.03, 0.005])
    np.testing.assert_allclose(found, [0.03, 0.06, 0.06, 0.02])


def test_as_r_does():
    # p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
    np.testing.assert_allclose(holm([0.01, 0.02, 0.03, 0.04, 0.05]), [0.05, 0.08, 0.09, 0.09, 0.09])


def test_a_comparison_without_a_test_stays_nan_and_is_not_counted():
    found = holm([0.01, nan, 0.04])
    np.testing.assert_allclose(found, [0.02, nan, 0.04])


@pytest.mark.parametrize("p_values", [[], [nan, nan]])
def test_nothing_to_adjust(p_values):
    found = holm(p_values)
    np.testing.assert_array_equal(found, p_values)


def test_one_test_is_left_as_it_is_and_what_was_given_is_not_changed():
    given_values = np.array([[0.03, nan]])
    found = holm(given_values)
    np.testing.assert_array_equal(found, [[0.03, nan]])
    holm(np.array([0.03, 0.5]))
    np.testing.assert_array_equal(given_values, [[0.03, nan]])


@pytest.mark.parametrize("wrong", [-0.1, 1.5, np.inf])
def test_what_is_no_p_value_is_refused(wrong):
    with pytest.raises(ValueError, match=rf"0 … 1 or be NaN \(got {wrong}\)"):
        holm([0.5, wrong])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms())
def test_between_the_p_value_and_bonferronis_and_without_regard_to_order(p_values, random):
    p, adjusted = np.array(p_values), holm(p_values)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(p * p.size, 1) + 1e-12).all()
    order = list(range(p.size))
    random.shuffle(order)
    np.testing.assert_array_equal(holm(p[order]), adjusted[order])


def test_any_false_positive_is_as_rare_as_the_level_says():
    tables = np.random.default_rng(0).uniform(size=(600, 6))
    assert np.mean((tables < 0.05).any(axis=1)) > 0.2, "unadjusted"
    rate = np.mean([(holm(p) < 0.05).any() for p in tables])
    assert 0.025 < rate < 0.075, "0.05 give or take its own standard error of 0.009"

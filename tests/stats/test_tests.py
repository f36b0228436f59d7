"""The sign-flip test: Fisher's own example, every pattern by hand, and the null by simulation."""

import gc
from itertools import product
from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lesionseg.stats import holm, sign_flip_test, wilcoxon_test

# Darwin's maize, crossed minus self-fertilised, in eighths of an inch.
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def test_fishers_example():
    found = sign_flip_test(DARWIN)
    assert found.p == 1726 / 2**15, "The Design of Experiments, § 21: 5.267 %"
    assert found.estimate == pytest.approx(314 / 15)
    assert (found.n_patients, found.n_repeats, found.note) == (15, 1, "")


def test_repeats_are_averaged_within_patients():
    table = np.random.default_rng(0).normal(0.5, 1, size=(7, 3))
    means = table.mean(axis=1)
    patterns = np.array(list(product((-1, 1), repeat=7))) @ means
    found = sign_flip_test(table)
    assert found.p == np.mean(np.abs(patterns) >= abs(means.sum()) - 1e-12)
    assert found.p == sign_flip_test(table[::-1]).p == sign_flip_test(-table).p
    assert found.n_repeats == 3


def test_monte_carlo_agrees_with_all_patterns():
    assert sign_flip_test(DARWIN, n_resamples=20_000).p == pytest.approx(1726 / 2**15, abs=0.006)


@pytest.mark.parametrize("test", [sign_flip_test, wilcoxon_test])
def test_no_difference_at_all_is_p_1(test):
    found = test(np.zeros((8, 2)))
    assert (found.estimate, found.p) == (0, 1)
    assert "Only 0 patients differ" in found.note


def test_few_patients_cannot_reach_the_level():
    found = sign_flip_test([1, 2, 3, 4, 0, 0])
    assert found.p == 2 / 2**4
    assert found.note == "Only 4 patients differ between the arms: p cannot fall below 0.125."


@pytest.mark.parametrize("test", [sign_flip_test, wilcoxon_test])
@pytest.mark.parametrize("differences", [[], [0.3], [[0.3, 0.4]], np.full((4, 2), nan), np.empty((3, 0))])
def test_fewer_than_two_patients_have_no_test(differences, test):
    found = test(differences)
    assert isnan(found.p)
    assert "Fewer than two patients" in found.note
    assert found.n_patients < 2


@pytest.mark.parametrize("test", [sign_flip_test, wilcoxon_test])
def test_missing_cells_are_left_out_and_counted(test):
    table = [[1.0, nan, 2.0], [2.0, nan, nan], [3.0, nan, 4.0], [1.0, nan, 0.0]]
    found = test(table)
    assert (found.n_patients, found.n_repeats) == (3, 2)
    assert "1 of 3 repeats have no difference" in found.note
    assert "1 of 4 patients lack a repeat" in found.note


@pytest.mark.parametrize("test", [sign_flip_test, wilcoxon_test])
@pytest.mark.parametrize(
    ("wrong", "message"), [(np.zeros((2, 2, 2)), r"\(patients, repeats\)"), ([1, np.inf], "infinite")]
)
def test_what_is_no_table_is_refused(wrong, message, test):
    with pytest.raises(ValueError, match=message):
        test(wrong)


DARWIN_WILCOXON = [6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75]


def test_the_example_of_scipys_documentation():
    found = wilcoxon_test(DARWIN_WILCOXON)
    assert found.p == 0.041259765625
    assert (found.estimate, found.n_patients, found.n_repeats) == (24, 15, 1)
    assert found.note == ""


def test_repeats_are_averaged_within_patients_wilcoxon():
    table = np.random.default_rng(0).normal(0.5, 1, size=(12, 3))
    expected = stats.wilcoxon(table.mean(axis=1))
    assert wilcoxon_test(table).p == expected.pvalue
    assert wilcoxon_test(-table).p == expected.pvalue
    assert wilcoxon_test(table).n_repeats == 3


def test_zeros_are_ranked_and_then_left_out():
    # |d| ranks: the two zeros share 1.5, then 3, 4, 5, 6, 7, 8. Negative: −1 of rank 3.
    differences = np.array([0, 0, -1, 2, 3, 4, 5, 6])
    found = wilcoxon_test(differences)
    ranks = np.array([3, 4, 5, 6, 7, 8])
    sums = np.array([ranks[np.array(signs) > 0].sum() for signs in product((-1, 1), repeat=6)])
    assert found.p == pytest.approx(2 * np.mean(sums <= 3), rel=1e-12)


def test_ties_but_for_rounding_are_ties():
    tied = np.array([1.0, 1, 1, -1, 2, 3, 4, 5])
    jitter = np.array([2e-15, 0, -1e-15, -3e-15, 0, 0, 0, 0])
    assert wilcoxon_test(0.1 * (tied + jitter)).p == wilcoxon_test(tied).p
    assert stats.wilcoxon(0.1 * (tied + jitter)).pvalue != wilcoxon_test(tied).p, "as they come, they are not"


def test_many_patients_with_ties_use_the_normal_approximation():
    values = np.round(np.random.default_rng(2).normal(0.4, 1, size=40), 1)
    expected = stats.wilcoxon(values, zero_method="pratt", method="asymptotic")
    assert wilcoxon_test(values).p == pytest.approx(expected.pvalue)


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
    gc.freeze()  # statsmodels collects garbage at every call, which takes long where a test run has left much
    p, adjusted = np.array(p_values), holm(p_values)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(p * p.size, 1) + 1e-12).all()
    order = list(range(p.size))
    random.shuffle(order)
    np.testing.assert_array_equal(holm(p[order]), adjusted[order])
    gc.unfreeze()

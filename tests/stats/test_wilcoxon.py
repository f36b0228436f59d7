"""The signed-rank test: SciPy's documented example, ranks by hand, zeros, and the null by simulation."""

from itertools import product
from math import isnan, nan

import numpy as np
import pytest
from scipy import stats

from lesionseg.stats import wilcoxon_test

DARWIN = [6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75]


def test_the_example_of_scipys_documentation():
    found = wilcoxon_test(DARWIN)
    assert found.p == 0.041259765625
    assert (found.estimate, found.n_patients, found.n_repeats) == (24, 15, 1)
    assert found.note == ""


def test_repeats_are_averaged_within_patients():
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


def test_no_difference_at_all_is_p_1():
    found = wilcoxon_test(np.zeros((8, 2)))
    assert (found.estimate, found.p) == (0, 1)
    assert "Only 0 patients differ" in found.note


def test_the_same_difference_everywhere_is_the_smallest_p():
    assert wilcoxon_test(np.full(8, 0.1)).p == 2 / 2**8


def test_few_patients_cannot_reach_the_level():
    found = wilcoxon_test([1, 2, 3, 4, 5])
    assert found.p == 2 / 2**5
    assert found.note == "Only 5 patients differ between the arms: p cannot fall below 0.0625."


@pytest.mark.parametrize("differences", [[], [0.3], [[0.3, 0.4]], np.full((4, 2), nan), np.empty((3, 0))])
def test_fewer_than_two_patients_have_no_test(differences):
    found = wilcoxon_test(differences)
    assert isnan(found.p)
    assert "Fewer than two patients" in found.note


def test_missing_cells_are_left_out_and_counted():
    found = wilcoxon_test([[1.0, 2.0], [2.0, nan], [3.0, 4.0]])
    assert (found.n_patients, found.estimate) == (2, 2.5)
    assert "1 of 3 patients lack a repeat" in found.note


def test_what_is_no_table_is_refused():
    with pytest.raises(ValueError, match=r"\(patients, repeats\)"):
        wilcoxon_test(np.zeros((2, 2, 2)))


@pytest.mark.parametrize(
    ("training", "least", "most"),
    [(0.0, 0.02, 0.08), (1.0, 0.2, 0.5)],
    ids=["trainings are alike", "trainings differ as patients do: not what it tests"],
)
def test_how_often_the_null_is_rejected(training, least, most):
    random = np.random.default_rng(21)
    tables = (
        random.normal(size=(400, 15, 1))
        + training * random.normal(size=(400, 1, 3))
        + 0.5 * random.normal(size=(400, 15, 3))
    )
    rate = np.mean([wilcoxon_test(table).p <= 0.05 for table in tables])
    assert least < rate < most, "0.05 give or take its own standard error of 0.011, where trainings are alike"

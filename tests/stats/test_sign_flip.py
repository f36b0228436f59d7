"""The sign-flip test: Fisher's own example, every pattern by hand, and the null by simulation."""

from itertools import product
from math import isnan, nan

import numpy as np
import pytest

from lesionseg.stats import sign_flip_test

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


def test_many_patients_are_a_monte_carlo_estimate_that_is_never_zero():
    found = sign_flip_test(np.full(30, 0.1), n_resamples=999)
    assert found.p == 2 / 1000, "one of 1000 at either end: the table itself"
    values = np.random.default_rng(1).normal(0.3, 1, size=40)
    assert sign_flip_test(values, seed=3) == sign_flip_test(values, seed=3)
    assert sign_flip_test(values, seed=3).p == pytest.approx(sign_flip_test(values, seed=4).p, abs=0.01)


def test_monte_carlo_agrees_with_all_patterns():
    assert sign_flip_test(DARWIN, n_resamples=20_000).p == pytest.approx(1726 / 2**15, abs=0.006)


def test_no_difference_at_all_is_p_1():
    found = sign_flip_test(np.zeros((8, 2)))
    assert (found.estimate, found.p) == (0, 1)
    assert "Only 0 patients differ between the arms: p cannot fall below 1" in found.note


def test_the_same_difference_everywhere_is_the_smallest_p():
    found = sign_flip_test(np.full((8, 1), 0.1))
    assert found.p == 2 / 2**8
    assert found.note == ""


def test_few_patients_cannot_reach_the_level():
    found = sign_flip_test([1, 2, 3, 4, 0, 0])
    assert found.p == 2 / 2**4
    assert found.note == "Only 4 patients differ between the arms: p cannot fall below 0.125."


@pytest.mark.parametrize("differences", [[], [0.3], [[0.3, 0.4]], np.full((4, 2), nan), np.empty((3, 0))])
def test_fewer_than_two_patients_have_no_test(differences):
    found = sign_flip_test(differences)
    assert isnan(found.p)
    assert "Fewer than two patients" in found.note
    assert found.n_patients < 2


def test_missing_cells_are_left_out_and_counted():
    table = [[1.0, nan, 2.0], [2.0, nan, nan], [3.0, nan, 4.0], [1.0, nan, 0.0]]
    found = sign_flip_test(table)
    assert (found.n_patients, found.n_repeats) == (3, 2)
    assert found.estimate == pytest.approx((1.5 + 3.5 + 0.5) / 3)
    assert "1 of 3 repeats have no difference" in found.note
    assert "1 of 4 patients lack a repeat" in found.note


@pytest.mark.parametrize(
    ("wrong", "message"), [(np.zeros((2, 2, 2)), r"\(patients, repeats\)"), ([1, np.inf], "infinite")]
)
def test_what_is_no_table_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        sign_flip_test(wrong)


@pytest.mark.parametrize(
    ("training", "least", "most"),
    [(0.0, 0.02, 0.08), (1.0, 0.2, 0.5)],
    ids=["trainings are alike", "trainings differ as patients do: not what it tests"],
)
def test_how_often_the_null_is_rejected(training, least, most):
    random = np.random.default_rng(20)
    tables = (
        random.normal(size=(400, 9, 1))
        + training * random.normal(size=(400, 1, 3))
        + 0.5 * random.normal(size=(400, 9, 3))
    )
    rate = np.mean([sign_flip_test(table).p <= 0.05 for table in tables])
    assert least < rate < most, "0.05 give or take its own standard error of 0.011, where trainings are alike"

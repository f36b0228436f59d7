"""The crossed test: a table worked by hand, scipy's paired t, and the null by simulation."""

from math import isnan, nan, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from lesionseg.stats import clustered_ratio, crossed_difference, patients_needed, summarise
from lesionseg.stats.paired import mean_squares

# Patient means 2, 4, 9; repeat means 4, 6, 5; grand mean 5.
# MSp = 3·(9 + 1 + 16)/2 = 39; MSk = 3·(1 + 1 + 0)/2 = 3.
TABLE = np.array([[1.0, 3.0, 2.0], [4.0, 4.0, 4.0], [7.0, 11.0, 9.0]])


def test_a_table_worked_by_hand():
    # Residuals d − patient mean − repeat mean + 5: (0, 0, 0), (1, −1, 0), (−1, 1, 0), so MSe = 4/4.
    assert mean_squares(TABLE) == (39.0, 3.0, 1.0)
    found = crossed_difference(TABLE)
    assert found.mean == 5.0
    assert found.standard_error == pytest.approx(sqrt((39 + 3 - 1) / 9))
    df = 41**2 / (39**2 / 2 + 3**2 / 2 + 1**2 / 4)
    assert found.df == pytest.approx(df)
    assert found.t == pytest.approx(15 / sqrt(41))
    assert found.p == pytest.approx(2 * stats.t.sf(15 / sqrt(41), df))
    margin = stats.t.ppf(0.975, df) * sqrt(41) / 3
    assert (found.low, found.high) == (pytest.approx(5 - margin), pytest.approx(5 + margin))
    assert (found.n_patients, found.n_repeats, found.note) == (3, 3, "")


@pytest.mark.parametrize("repeats", [1, 2])
def test_below_three_repeats_there_is_a_mean_and_no_test(repeats):
    found = crossed_difference(TABLE[:, :repeats])
    assert (found.mean, found.n_repeats) == (TABLE[:, :repeats].mean(), repeats)
    assert np.isnan([found.standard_error, found.p, found.low, found.high]).all()
    assert "Fewer than 3 repeats" in found.note


def test_training_luck_is_not_an_effect():
    # Every patient agrees, but only because repeat 2 was a lucky training.
    lucky = np.array([0.0, 0.2, 0.1]) + np.random.default_rng(0).normal(0, 0.01, (10, 3))
    assert stats.ttest_1samp(lucky.mean(axis=1), 0).pvalue < 1e-6
    assert crossed_difference(lucky).p > 0.1


def test_a_component_below_zero_is_taken_as_zero():
    table = np.array([[1.0, 2.0, 1.5], [2.0, 1.0, 1.5], [3.0, 2.5, 2.75]])
    patients, repeats, residual = mean_squares(table)
    assert repeats < residual
    found = crossed_difference(table)
    assert found.standard_error == pytest.approx(sqrt(patients / 9)), "that of patients alone"
    assert found.df == 2, "P − 1, as for patients alone"
    assert "estimated below zero" in found.note


def test_patients_with_a_missing_cell_are_left_out_and_counted():
    found = crossed_difference(np.vstack([TABLE, [nan, 100.0, 0.0], [nan] * 3]))
    assert (found.mean, found.n_patients) == (5.0, 3)
    assert "2 of 5 patients lack a repeat" in found.note


def test_a_repeat_that_never_ran_costs_no_patient():
    found = crossed_difference(np.column_stack([TABLE, [nan] * 3]))
    assert (found.mean, found.n_patients, found.n_repeats) == (5.0, 3, 3)
    assert "1 of 4 repeats have no difference" in found.note


@pytest.mark.parametrize("repeats", [3, 4])
def test_no_difference_at_all_is_p_1(repeats):
    found = crossed_difference(np.zeros((5, repeats)))
    assert (found.mean, found.standard_error, found.t, found.p, found.low, found.high) == (0, 0, 0, 1, 0, 0)


@pytest.mark.parametrize("repeats", [3, 4])
def test_the_same_difference_everywhere_cannot_be_tested(repeats):
    found = crossed_difference(np.full((5, repeats), 0.1))
    assert found.mean == pytest.approx(0.1)
    assert isnan(found.p)
    assert "no spread to test against" in found.note


@pytest.mark.parametrize(
    ("table", "message"),
    [([1.0, 2.0], r"\(patients, repeats\)"), ([[np.inf]], "infinite")],
)
def test_what_is_no_table_is_refused(table, message):
    with pytest.raises(ValueError, match=message):
        crossed_difference(table)


FINITE = st.floats(-1, 1, allow_subnormal=False).map(lambda value: round(value, 3))


@settings(max_examples=60, deadline=None)
@given(arrays(np.float64, st.tuples(st.integers(2, 6), st.integers(1, 4)), elements=FINITE), st.randoms())
def test_changing_arms_changes_the_sign_and_order_does_not_matter(table, random):
    found, other = crossed_difference(table), crossed_difference(-table)
    np.testing.assert_allclose([found.mean, found.t, found.low], [-other.mean, -other.t, -other.high], atol=1e-9)
    np.testing.assert_allclose([found.p, found.standard_error], [other.p, other.standard_error])
    rows, columns = list(range(table.shape[0])), list(range(table.shape[1]))
    random.shuffle(rows)
    random.shuffle(columns)
    shuffled = crossed_difference(table[np.ix_(rows, columns)])
    np.testing.assert_allclose([shuffled.mean, shuffled.p], [found.mean, found.p], atol=1e-9)
    assert isnan(found.p) or (0 <= found.p <= 1 and found.low <= found.mean <= found.high)


def test_the_order_of_patients_does_not_decide_between_equal_mean_squares():
    table = np.zeros((2, 3))
    table[1, 2] = 0.012
    patients, repeats, residual = mean_squares(table)
    assert patients == pytest.approx(repeats) == pytest.approx(residual)
    assert crossed_difference(table).p == pytest.approx(crossed_difference(table[::-1, ::-1]).p)


@pytest.mark.parametrize(
    ("patient", "training", "residual"), [(1.0, 0.0, 1.0), (1.0, 0.5, 0.5), (0.3, 1.0, 0.3)], ids=str
)
def test_under_the_null_about_one_in_twenty_is_significant(patient, training, residual):
    random = np.random.default_rng(20)
    n, patients, repeats = 1500, 15, 5
    tables = (
        patient * random.normal(size=(n, patients, 1))
        + training * random.normal(size=(n, 1, repeats))
        + residual * random.normal(size=(n, patients, repeats))
    )
    rate = np.mean([crossed_difference(table).p < 0.05 for table in tables])
    assert 0.025 < rate < 0.07, "0.05 give or take its own standard error of 0.006, on the cautious side"


def test_patients_needed_by_hand():
    # σp² = (39 − 1)/3, σk² = (3 − 1)/3, σe² = 1; with room = (2/2.8016)² less σk²/K'.
    room = (2 / (stats.norm.ppf(0.975) + stats.norm.ppf(0.8))) ** 2
    found = patients_needed(TABLE, [1, 3, 10], difference=2.0)
    expected = [np.ceil((38 / 3 + 1 / n) / (room - 2 / 3 / n)) for n in (3, 10)]
    np.testing.assert_array_equal(found, [np.inf, *expected])
    assert np.isnan(patients_needed(TABLE[:, :1], [3])).all()


def test_by_hand():
    found = summarise([1.0, 2.0, 6.0, nan])
    assert found.mean == 3.0
    assert found.standard_error == pytest.approx(np.sqrt((4 + 1 + 9) / 2 / 3))
    assert (found.n, found.n_undefined) == (3, 1)


@pytest.mark.parametrize("values", [[], [nan, nan]])
def test_no_patient_is_nan(values):
    found = summarise(values)
    assert isnan(found.mean)
    assert isnan(found.standard_error)
    assert (found.n, found.n_undefined) == (0, len(values))


def test_a_table_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        summarise([[1.0, 2.0], [3.0, 4.0]])


def test_by_hand_ratios():
    # R = 6/12; residuals y − R·x: 2 − 1, 3 − 4, 1 − 1, with n/(n − 1) = 3/2.
    found = clustered_ratio([2, 3, 1], [2, 8, 2])
    assert found.ratio == 0.5
    assert found.standard_error == pytest.approx(sqrt(3 / 2 * (1 + 1 + 0)) / 12)
    margin = stats.t.ppf(0.975, 2) * found.standard_error
    assert (found.low, found.high) == (pytest.approx(max(0.5 - margin, 0)), pytest.approx(min(0.5 + margin, 1)))
    assert (found.n_patients, found.note) == (3, "")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pandas 3, as statsmodels 0.14 is imported
def test_statsmodels_agrees():
    # The ratio is the weighted mean of the patients' ratios; HC1 is its sandwich variance with n/(n − 1).
    from statsmodels.regression.linear_model import WLS

    random = np.random.default_rng(0)
    trials = random.integers(1, 30, size=25)
    successes = random.binomial(trials, random.uniform(0.2, 0.9, size=25))
    fit = WLS(successes / trials, np.ones(25), weights=trials).fit(cov_type="HC1")
    found = clustered_ratio(successes, trials)
    assert found.ratio == pytest.approx(fit.params[0])
    assert found.standard_error == pytest.approx(fit.bse[0])


def test_patients_without_trials_are_counted_and_left_out():
    found = clustered_ratio([2, 0, 3, nan, 1], [2, 0, 8, 4, 2])
    assert (found.ratio, found.n_patients) == (0.5, 3)
    assert found.standard_error == clustered_ratio([2, 3, 1], [2, 8, 2]).standard_error


@pytest.mark.parametrize(("successes", "trials"), [([], []), ([0, 0], [0, 0]), ([nan], [3])])
def test_no_trial_is_nan(successes, trials):
    found = clustered_ratio(successes, trials)
    assert isnan(found.ratio)
    assert isnan(found.standard_error)
    assert found.n_patients == 0


def test_one_patient_has_a_ratio_and_no_error():
    found = clustered_ratio([3], [4])
    assert found.ratio == 0.75
    assert isnan(found.standard_error)
    assert "Fewer than two patients" in found.note


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_the_same_ratio_everywhere_tells_no_error(ratio):
    found = clustered_ratio(ratio * np.array([10, 20, 30]), [10, 20, 30])
    assert found.ratio == pytest.approx(ratio)
    assert isnan(found.standard_error)
    assert "the same ratio" in found.note


@pytest.mark.parametrize(
    ("successes", "trials", "message"),
    [
        ([1, 5], [2, 4], "must not exceed trials"),
        ([-1], [2], "successes must be 0 or more"),
        ([1], [np.inf], "trials must be 0 or more"),
        ([1, 2], [1], r"got shapes \(2,\) and \(1,\)"),
        ([[1]], [[1]], r"got shapes \(1, 1\) and \(1, 1\)"),
    ],
)
def test_what_is_no_ratio_is_refused(successes, trials, message):
    with pytest.raises(ValueError, match=message):
        clustered_ratio(successes, trials)

"""The pooled ratio: by hand, weighted least squares, and what pooling lesions does to a test."""

from math import isnan, nan, sqrt

import numpy as np
import pytest
from scipy import stats

from lesionseg.stats import clustered_ratio


def test_by_hand():
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


def test_its_interval_covers_and_that_of_pooled_lesions_does_not():
    random = np.random.default_rng(1)
    covered, naive = [], []
    for _ in range(400):
        trials = 1 + random.poisson(random.gamma(1.0, 12.0, size=30))
        successes = random.binomial(trials, random.beta(2.0, 2.0, size=30))
        found = clustered_ratio(successes, trials)
        covered.append(found.low < 0.5 < found.high)
        interval = stats.binomtest(int(successes.sum()), int(trials.sum())).proportion_ci(method="wilson")
        naive.append(interval.low < 0.5 < interval.high)
    assert 0.90 < np.mean(covered) < 0.98, "0.95 give or take its own standard error of 0.011"
    assert np.mean(naive) < 0.7

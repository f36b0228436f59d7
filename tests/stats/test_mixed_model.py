"""The mixed model: R's lme4 on its own example, the crossed test on complete tables, and the null by simulation."""

import subprocess
import sys
from math import isnan, nan, sqrt

import numpy as np
import pytest
from scipy import stats

from lesionseg.stats import crossed_difference, mixed_model

# Penicillin of R's lme4 (Davies & Goldsmith 1972): growth inhibition in mm, a row per plate, a column per sample.
PENICILLIN = """
27 23 26 23 23 21, 27 23 26 23 23 21, 25 21 25 24 24 20, 26 23 25 23 23 20, 25 22 26 22 23 20, 24 22 25 23 22 19,
24 20 23 21 22 19, 26 22 26 24 24 21, 24 21 24 22 22 20, 24 21 24 23 22 19, 26 23 26 24 24 21, 25 22 26 24 24 20,
26 24 26 24 25 22, 26 23 26 23 23 20, 26 23 25 24 24 22, 25 22 25 23 23 20, 25 21 24 23 23 20, 25 22 24 23 23 19,
24 21 23 21 21 19, 26 23 26 24 24 21, 25 21 24 22 22 18, 25 22 25 22 22 20, 24 21 24 22 24 19, 24 21 24 22 21 18
"""


def test_the_crossed_example_of_lme4():
    # lmer(diameter ~ 1 + (1 | plate) + (1 | sample)) prints 22.97, and standard deviations 0.8467, 1.9316, 0.5499.
    table = np.array([row.split() for row in PENICILLIN.split(",")], dtype=float)
    found = mixed_model(table)
    assert found.mean == pytest.approx(22.9722, abs=1e-4)
    assert sqrt(found.patient_variance) == pytest.approx(0.8467, abs=2e-4)
    assert sqrt(found.repeat_variance) == pytest.approx(1.9316, abs=2e-4)
    assert sqrt(found.residual_variance) == pytest.approx(0.5499, abs=2e-4)
    assert (found.n_patients, found.n_repeats, found.n_differences) == (24, 6, 144)
    assert (found.converged, found.singular, found.note) == (True, False, "")


def _table(random: np.random.Generator, patients: int, repeats: int, training: float = 1.0) -> np.ndarray:
    return (
        random.normal(size=(patients, 1))
        + training * random.normal(size=(1, repeats))
        + random.normal(size=(patients, repeats))
    )


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e5])
def test_on_complete_tables_it_is_the_crossed_test(scale):
    random = np.random.default_rng(3)
    for _ in range(5):
        table = scale * (0.3 + _table(random, 8, 3))
        found, expected = mixed_model(table), crossed_difference(table)
        assert found.converged
        for name in ("mean", "standard_error", "df", "t", "p", "low", "high"):
            assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=2e-3)
        assert found.singular == ("below zero" in expected.note)


def test_a_component_at_zero_is_told():
    found = mixed_model([[1.0, 1.2, 0.9], [2.0, 1.9, 2.1], [3.0, 3.1, 2.9], [0.5, 0.4, 0.7]])
    assert found.repeat_variance == 0
    assert (found.singular, found.converged) == (True, True)
    assert found.df == pytest.approx(3), "P − 1, as for patients alone"
    assert "estimated as zero" in found.note


def test_what_is_left_of_a_patient_is_used():
    random = np.random.default_rng(5)
    table = 1 + _table(random, 12, 4, 0.3)
    table[random.random(table.shape) < 0.25] = nan
    found = mixed_model(table)
    assert found.n_patients > crossed_difference(table).n_patients
    assert found.n_differences == np.isfinite(table).sum()
    assert found.standard_error < crossed_difference(table).standard_error
    assert found.low < found.mean < found.high


def test_rows_and_columns_without_a_value_change_nothing():
    table = _table(np.random.default_rng(6), 6, 3)
    padded = np.full((8, 4), nan)
    padded[1:7, [0, 1, 3]] = table
    assert mixed_model(padded) == mixed_model(table)


@pytest.mark.parametrize("table", [[[0.4], [0.1], [0.7], [0.2]], [[0.4, nan], [nan, 0.1], [nan, 0.7], [0.2, nan]]])
def test_patients_with_one_difference_each_cannot_be_told_from_the_residual(table):
    expected = stats.ttest_1samp([0.4, 0.1, 0.7, 0.2], 0)
    found = mixed_model(table)
    assert isnan(found.patient_variance)
    assert isnan(found.repeat_variance) == (found.n_repeats == 1)
    if found.repeat_variance == 0 or found.n_repeats == 1:
        assert found.p == pytest.approx(expected.pvalue)
    assert ("One repeat" in found.note) == (found.n_repeats == 1)


def test_every_patient_and_repeat_once_is_the_t_test():
    found = mixed_model(np.where(np.eye(3, dtype=bool), [0.4, 0.1, 0.7], nan))
    assert found.p == pytest.approx(stats.ttest_1samp([0.4, 0.1, 0.7], 0).pvalue)
    assert isnan(found.patient_variance)
    assert isnan(found.repeat_variance)
    assert found.converged


@pytest.mark.parametrize("table", [[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [[1.0, 1.0], [2.0, 2.0]], [[1, 2], [nan, 5]]])
def test_without_a_residual_there_is_no_fit(table):
    found = mixed_model(table)
    assert isnan(found.p)
    assert not found.converged
    assert "cannot be fitted" in found.note


@pytest.mark.parametrize("table", [np.empty((0, 3)), np.full((4, 2), nan), [[0.5, 0.6, 0.7]], np.empty((3, 0))])
def test_too_few_patients_is_nan_with_a_note(table):
    found = mixed_model(table)
    assert all(isnan(value) for value in (found.standard_error, found.df, found.t, found.p, found.low, found.high))
    assert "Fewer than two patients" in found.note
    assert not found.converged


@pytest.mark.parametrize("repeats", [1, 3])
def test_no_difference_at_all_is_p_1(repeats):
    found = mixed_model(np.zeros((5, repeats)))
    assert (found.mean, found.standard_error, found.t, found.p, found.low, found.high) == (0, 0, 0, 1, 0, 0)


def test_the_same_difference_everywhere_cannot_be_tested():
    found = mixed_model(np.full((5, 3), 0.1))
    assert found.mean == pytest.approx(0.1)
    assert isnan(found.p)
    assert "no spread to test against" in found.note


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pandas 3, as statsmodels 0.14 is imported
def test_a_fit_that_did_not_converge_is_told(monkeypatch):
    from statsmodels.regression.mixed_linear_model import MixedLM

    original = MixedLM.fit
    monkeypatch.setattr(MixedLM, "fit", lambda self, **options: original(self, maxiter=1, **options))
    found = mixed_model(_table(np.random.default_rng(7), 10, 4))
    assert not found.converged
    assert "did not converge" in found.note


@pytest.mark.parametrize(
    ("table", "message"),
    [([1.0, 2.0], r"\(patients, repeats\), found shape \(2,\)"), ([[np.inf]], "infinite")],
)
def test_what_is_no_table_is_refused(table, message):
    with pytest.raises(ValueError, match=message):
        mixed_model(table)


def test_it_prints_and_warns_nothing_even_when_statsmodels_is_imported_by_it(environment):
    code = "from lesionseg.stats import mixed_model\nassert mixed_model([[0, 1], [1, 0], [0, 0.2]]).singular"
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_under_the_null_about_one_in_twenty_is_significant():
    random = np.random.default_rng(22)
    found = []
    for _ in range(300):
        table = _table(random, 10, 3)
        table[random.random(table.shape) < 0.15] = nan
        found.append(mixed_model(table))
    rate = np.mean([result.p < 0.05 for result in found])
    assert 0.015 < rate < 0.09, "0.05 give or take its own standard error of 0.013"
    assert np.mean([result.converged for result in found]) > 0.98
    wald = np.mean([2 * stats.norm.sf(abs(result.t)) < 0.05 for result in found])
    assert wald > max(0.1, rate), "MixedLM's own p, from the normal distribution"

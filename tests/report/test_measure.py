"""The numbers of several arms, each held against the first, and Holm's adjustment over all of them."""

from math import isnan, nan

import numpy as np
import pytest

from lesionseg.report import measure as module
from lesionseg.report.measure import measure
from lesionseg.stats import clustered_ratio, crossed_difference, holm, mixed_model, sign_flip_test, wilcoxon_test

random = np.random.default_rng(0)
PATIENTS, REPEATS = 8, 3
VALUES = {
    (arm, size): (0.3 + gain + 0.02 * size + 0.1 * random.standard_normal((REPEATS, PATIENTS))).clip(0, 1)
    for arm, gain in (("scratch", 0.0), ("pretrained", 0.2), ("lora", 0.05))
    for size in (2, 5)
}
ARMS = ("scratch", "pretrained", "lora")


def test_every_arm_is_held_against_the_first_one(case_grid):
    results, _ = measure(case_grid(VALUES), ARMS)
    assert (results.reference, results.others) == ("scratch", ("pretrained", "lora"))
    assert {(row.arm, row.reference) for row in results.differences} == {("pretrained", "scratch"), ("lora", "scratch")}
    table = (VALUES["lora", 5] - VALUES["scratch", 5]).T
    row = results.difference("lora", 5, "lesion_ppv")
    assert row.difference == crossed_difference(table)
    assert row.sign_flip == sign_flip_test(table)
    assert row.wilcoxon == wilcoxon_test(table)
    assert row.mixed.p == pytest.approx(mixed_model(table).p)
    assert results.difference("scratch", 5, "dice") is None


def test_holm_adjusts_for_the_tests_of_the_primary_scores_of_all_arms_and_sizes(case_grid):
    results, _ = measure(case_grid(VALUES), ARMS)
    primary = [row for row in results.differences if row.score != "dice"]
    assert results.n_tests == len(primary) == 2 * 2 * 3
    expected = holm([row.difference.p for row in primary]).p
    np.testing.assert_allclose([row.holm_p for row in primary], expected)
    assert all(isnan(row.holm_p) for row in results.differences if row.score == "dice")


def test_the_interval_of_a_mean_is_that_of_t_over_patients(case_grid):
    results, _ = measure(case_grid({("scratch", 2): [[0.2, 0.4, 0.9]]}), ("scratch",))
    mean = results.mean("scratch", 2, "dice")
    assert (mean.low, mean.high) == pytest.approx(
        (0.5 - 4.302653 * mean.standard_error, 0.5 + 4.302653 * mean.standard_error)
    )
    one, _ = measure(case_grid({("scratch", 2): [[0.2]]}), ("scratch",))
    assert isnan(one.mean("scratch", 2, "dice").low)


def test_the_pooled_ratio_counts_each_patients_lesions_as_the_mean_of_the_repeats(case_grid):
    cases = case_grid({("scratch", 2): [[0.5, 0.5], [1.0, 0.0]]}).assign(
        n_reference=[4, 2, 4, 2],
        detected_reference=[2, 1, 4, 0],
        n_prediction=[5, 1, 5, 0],
        true_prediction=[2, 1, 4, 0],
    )
    results, _ = measure(cases, ("scratch",))
    assert results.mean("scratch", 2, "lesion_sensitivity").pooled == clustered_ratio([3, 0.5], [4, 2])
    assert results.mean("scratch", 2, "lesion_ppv").pooled == clustered_ratio([3, 0.5], [5, 0.5])
    assert results.mean("scratch", 2, "lesion_f1").pooled is None
    without, _ = measure(case_grid({("scratch", 2): [[0.5, 0.5]]}), ("scratch",))
    assert without.mean("scratch", 2, "lesion_ppv").pooled is None, "the table has no counts"


def test_patients_have_one_score_each_and_nan_where_nothing_is_defined(case_grid):
    cases = case_grid({("scratch", 2): [[0.2, nan], [0.4, nan]]})
    results, _ = measure(cases, ("scratch",))
    found = {row.patient: row.value for row in results.patients if row.score == "lesion_f1"}
    assert found["0"] == pytest.approx(0.3)
    assert isnan(found["1"])


def test_the_mixed_model_is_left_out_where_it_would_take_seconds(case_grid, monkeypatch):
    monkeypatch.setattr(module, "MOST_CELLS", PATIENTS * REPEATS - 1)
    results, _ = measure(case_grid(VALUES), ARMS)
    assert {row.mixed for row in results.differences} == {None}


def test_without_a_finished_run_of_the_reference_nothing_is_compared(case_grid):
    results, _ = measure(case_grid(VALUES), ("zero_shot", "scratch", "lora"))
    assert results.arms == ("scratch", "lora")
    assert results.differences == ()
    assert results.missing == ("zero_shot has no finished run",)


def test_what_was_asked_for_is_missing_even_if_no_arm_has_it(case_grid):
    grid = [("scratch", 2, repeat) for repeat in range(4)] + [("scratch", 20, 0)]
    results, _ = measure(case_grid({("scratch", 2): VALUES["scratch", 2]}), ("scratch",), grid)
    assert results.missing == (
        "scratch, train_size 2, repeat 3 has no finished run",
        "scratch, train_size 20, repeat 0 has no finished run",
    )

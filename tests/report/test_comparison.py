"""The comparison on small tables with numbers worked by hand."""

from math import isnan, nan, sqrt

import numpy as np
import pandas as pd
import pytest

from lesionseg.report import SCORES, Evidence, compare
from lesionseg.stats import crossed_difference

ARMS = ("scratch", "pretrained")


def row(init, train_size, repeat, subject, value, session="ses-1", n_reference=2, **other):
    """One case whose four scores are all `value`."""
    return {
        "init": init,
        "train_size": train_size,
        "repeat": repeat,
        "subject": subject,
        "session": session,
        "n_reference": n_reference,
        **dict.fromkeys(SCORES, value),
        "false_positives": 0,
        "false_positive_volume_ml": 0.0,
        **other,
    }


def grid(values, sizes=(5,), arms=ARMS):
    """Rows from values[arm][repeat][patient], the same at each size."""
    return pd.DataFrame(
        [
            row(arm, size, repeat, f"sub-{patient}", value)
            for arm in arms
            for size in sizes
            for repeat, patients in enumerate(values[arm])
            for patient, value in enumerate(patients)
        ]
    )


def difference(comparison, size, score="dice", arm="pretrained"):
    """What the crossed test says of an arm against the first."""
    return comparison.results.difference(arm, size, score).difference


VALUES = {
    "scratch": [[0.2, 0.4, 0.6], [0.4, 0.4, 0.2]],
    "pretrained": [[0.5, 0.5, 0.9], [0.6, 0.7, 0.4]],
}


def test_means_are_over_patients_with_repeats_averaged_first():
    results = compare(grid(VALUES), ARMS).results
    found = results.mean("scratch", 5, "lesion_ppv")
    assert found.mean == pytest.approx((0.3 + 0.4 + 0.4) / 3)
    assert found.standard_error == pytest.approx(np.std([0.3, 0.4, 0.4], ddof=1) / sqrt(3))
    assert (found.n_patients, found.n_repeats, found.n_undefined) == (3, 2, 0)
    assert [repeat for repeat, _ in found.by_repeat] == [0, 1]
    np.testing.assert_allclose([mean for _, mean in found.by_repeat], [0.4, 1 / 3])
    assert (results.arms, results.sizes, results.repeats) == (ARMS, (5,), (0, 1))


def test_the_difference_is_the_second_arm_minus_the_first_by_patient_and_repeat():
    found = difference(compare(grid(VALUES), ARMS), 5)
    expected = crossed_difference((np.array(VALUES["pretrained"]) - np.array(VALUES["scratch"])).T)
    assert found.mean == pytest.approx((0.3 + 0.1 + 0.3 + 0.2 + 0.3 + 0.2) / 6)
    np.testing.assert_allclose(
        [found.mean, found.standard_error, found.df, found.p, found.low, found.high],
        [expected.mean, expected.standard_error, expected.df, expected.p, expected.low, expected.high],
    )
    assert (found.n_patients, found.n_repeats) == (3, 2)


def test_the_order_of_the_arms_is_the_sign():
    there = difference(compare(grid(VALUES), ARMS), 5)
    back = difference(compare(grid(VALUES), ARMS[::-1]), 5, arm="scratch")
    assert (back.mean, back.p) == (pytest.approx(-there.mean), pytest.approx(there.p))


def test_a_patients_sessions_are_averaged_first():
    cases = pd.DataFrame(
        [
            row("scratch", 5, 0, "sub-1", 0.0, "ses-1"),
            row("scratch", 5, 0, "sub-1", 0.2, "ses-2"),
            row("scratch", 5, 0, "sub-1", 0.4, "ses-3"),
            row("scratch", 5, 0, "sub-2", 0.6, "ses-1"),
        ]
    )
    results = compare(cases, ("scratch",)).results
    found = results.mean("scratch", 5, "lesion_sensitivity")
    assert found.mean == pytest.approx(0.4), "two patients of 0.2 and 0.6, not four sessions"
    assert found.n_patients == 2
    assert (results.n_patients, results.n_studies) == (2, 4)


def test_studies_without_reference_lesion_are_apart():
    empty = {"n_reference": 0, "lesion_sensitivity": nan, "lesion_f1": nan, "dice": 0.0, "lesion_ppv": 0.0}
    cases = pd.concat(
        [
            grid(VALUES),
            pd.DataFrame(
                row(arm, 5, repeat, "sub-9", nan, **empty) | {"false_positives": count, "false_positive_volume_ml": 0.5}
                for arm, counts in (("scratch", (4, 2)), ("pretrained", (1, 0)))
                for repeat, count in enumerate(counts)
            ),
        ]
    )
    comparison = compare(cases, ARMS)
    results = comparison.results
    for score in SCORES:
        assert results.mean("scratch", 5, score).mean == pytest.approx((0.3 + 0.4 + 0.4) / 3)
        assert results.mean("scratch", 5, score).n_undefined == 1
        assert difference(comparison, 5, score).note == difference(compare(grid(VALUES), ARMS), 5, score).note
    scratch, pretrained = results.without_lesions
    assert (scratch.arm, scratch.n_studies, scratch.false_positives, scratch.marked) == (
        "scratch",
        1,
        3.0,
        1.0,
    )
    assert (pretrained.false_positives, pretrained.marked) == (0.5, 0.5)
    assert scratch.false_positive_volume_ml == 0.5
    assert (results.n_patients, results.n_patients_with_lesions) == (4, 3)
    assert any("without reference lesion: 1 of 4" in caveat for caveat in comparison.caveats)


def test_a_run_that_never_finished_is_named_and_the_rest_is_compared():
    cases = grid(VALUES, sizes=(5, 10)).query("not (init == 'scratch' and train_size == 5 and repeat == 1)")
    comparison = compare(cases, ARMS)
    assert comparison.missing == ("scratch, train_size 5, repeat 1 has no finished run",)
    small, large = (difference(comparison, size) for size in (5, 10))
    assert (small.n_repeats, large.n_repeats) == (1, 2)
    assert small.mean == pytest.approx((0.3 + 0.1 + 0.3) / 3), "the repeat that both have"
    assert comparison.results.mean("pretrained", 5, "dice").n_repeats == 2
    said = " ".join(comparison.caveats)
    assert "The grid is not full: scratch, train_size 5, repeat 1 has no finished run." in said
    assert "At 5 the differences rest on the patients and repeats that both arms have" in said


def test_a_study_that_a_run_lacks_is_named_and_its_patient_left_out_of_the_difference():
    cases = grid(VALUES).query("not (init == 'pretrained' and repeat == 1 and subject == 'sub-2')")
    comparison = compare(cases, ARMS)
    assert comparison.missing == ("pretrained, train_size 5, repeat 1 lacks 1 of 3 test studies: sub-2 ses-1",)
    found = difference(comparison, 5)
    assert found.n_patients == 2
    assert "1 of 3 patients lack a repeat" in found.note
    assert comparison.results.mean("pretrained", 5, "dice").n_patients == 3


def test_a_size_that_one_arm_lacks_has_no_difference():
    cases = grid(VALUES, sizes=(5, 10)).query("not (init == 'scratch' and train_size == 10)")
    comparison = compare(cases, ARMS)
    assert comparison.results.difference("pretrained", 10, "dice") is None
    assert comparison.results.mean("scratch", 10, "dice") is None
    assert len(comparison.missing) == 2
    assert "(scratch has no score there)" in comparison.answer[1]


@pytest.mark.parametrize("arms", [ARMS, ("scratch",)])
def test_one_arm_has_means_and_no_differences(arms):
    comparison = compare(grid(VALUES, arms=("scratch",)), arms)
    assert comparison.results.arms == ("scratch",)
    assert comparison.results.differences == ()
    assert comparison.missing == (("pretrained has no finished run",) if arms == ARMS else ())
    assert comparison.answer[-1] == "There is one arm, so that nothing is compared."


def test_rows_of_other_arms_do_not_enter():
    cases = pd.concat([grid(VALUES), pd.DataFrame([row("other", 99, 7, "sub-77", 1.0)])])
    results = compare(cases, ARMS).results
    assert (results.sizes, results.repeats, results.n_patients) == ((5,), (0, 1), 3)


def test_the_order_of_rows_does_not_matter():
    cases = grid(VALUES, sizes=(2, 10, 5))
    shuffled = cases.sample(frac=1, random_state=0)
    assert repr(compare(cases, ARMS)) == repr(compare(shuffled, ARMS))


def test_a_cohort_without_sessions_and_numbers_read_as_text_will_do():
    cases = grid(VALUES).assign(session=nan, train_size="5", repeat=lambda table: table["repeat"].astype(float))
    assert compare(cases, ARMS).results.mean("scratch", 5, "dice").n_patients == 3


def test_the_answer_in_words():
    values = {
        "scratch": [[0.2, 0.3, 0.4, 0.3]] * 3,
        "pretrained": [[0.5, 0.61, 0.69, 0.6], [0.5, 0.6, 0.7, 0.6], [0.51, 0.6, 0.7, 0.59]],
    }
    small, large, verdict = compare(grid(values, sizes=(2, 5, 10)), ARMS).answer
    assert small.startswith(
        "With 2 training studies scratch found 30 % of a patient's lesions on average, pretrained 60 % "
        "(difference +30 points, 95 % interval +29 to +31, p < 0.001); 30 % and 60 % of the lesions that they "
        "marked were true (+30 points,"
    )
    assert large.startswith("With 10 training studies")
    assert verdict == (
        "After Holm's adjustment for 9 tests of sensitivity, PPV and F1, pretrained is ahead of scratch in "
        "sensitivity, "
        "PPV and F1 at 2, 5 and 10; with 2 training studies pretrained reaches an F1 that scratch does not reach "
        "with 10 "
        "(95 % interval more than 10): more than 5 times as many."
    )


def test_the_answer_says_where_the_arms_cannot_be_told_apart():
    same = compare(grid(dict.fromkeys(ARMS, VALUES["scratch"])), ARMS)
    assert same.answer[0].count("(difference 0 points, 95 % interval 0 to 0, p = 1.000)") == 1
    assert same.answer[1] == (
        "None of 3 tests of sensitivity, PPV and F1 has p below 0.05: these runs do not tell the arms apart."
    )
    assert "An interval that includes zero does not say that the arms are equal." in same.caveats
    assert len(same.answer) == 2


def test_one_patient_is_said_to_be_untestable():
    one = compare(grid({"scratch": [[0.2]], "pretrained": [[0.7]]}), ARMS)
    assert "(difference +50 points, not testable)" in one.answer[0]
    assert one.answer[1] == "None of these differences can be tested."


def test_without_any_lesion_there_is_no_score_and_it_is_said():
    cases = grid(VALUES).assign(n_reference=0, false_positives=1)
    comparison = compare(cases, ARMS)
    assert comparison.answer[0] == "With 5 training studies no test patient has a score."
    assert isnan(comparison.results.mean("scratch", 5, "dice").mean)
    assert comparison.results.without_lesions[0].n_studies == 3


def test_the_caveats_say_what_the_numbers_rest_on():
    few = " ".join(compare(grid(VALUES), ARMS).caveats)
    assert "3 test patients with reference lesions and 2 repeats" in few
    assert "only large differences can show" in few
    assert "Two repeats tell little of how much training varies" in few
    assert "Holm's p is adjusted for the 3 tests of sensitivity, PPV and F1 at all sizes." in few
    assert "one cohort" in few
    one = " ".join(compare(grid({arm: values[:1] for arm, values in VALUES.items()}), ARMS).caveats)
    assert "holds for these trained models only" in one


def test_an_arm_that_finds_nothing_is_named_first():
    comparison = compare(grid(VALUES | {"scratch": [[0.0, 0.01, 0.0]] * 2}), ARMS)
    assert comparison.caveats[0].startswith("scratch finds nothing with 5 training studies (sensitivity 0.00)")
    assert not any("finds nothing" in caveat for caveat in compare(grid(VALUES), ARMS).caveats)


def test_runs_scored_against_different_references_are_noticed():
    cases = grid(VALUES)
    cases.loc[0, "n_reference"] = 5
    assert any("differs between runs in 1 of 3 test studies" in caveat for caveat in compare(cases, ARMS).caveats)


@pytest.mark.parametrize(
    ("spoil", "arms", "message"),
    [
        (lambda cases: cases.drop(columns=["dice", "repeat"]), ARMS, "lacks the columns repeat, dice"),
        (
            lambda cases: cases,
            ("a", "b"),
            "No case of the arms a, b; the arms in the table: pretrained, scratch",
        ),
        (
            lambda cases: pd.concat([cases, cases.head(2)]),
            ARMS,
            "2 rows repeat a study .* scratch, train_size 5",
        ),
        (
            lambda cases: cases.assign(train_size="all"),
            ARMS,
            "train_size must hold whole numbers, found 'all'",
        ),
        (lambda cases: cases, ("scratch", "scratch"), "several different ones, found scratch, scratch"),
        (lambda cases: cases, (), "found none"),
    ],
)
def test_what_is_no_table_of_cases_is_refused(spoil, arms, message):
    with pytest.raises(ValueError, match=message):
        compare(spoil(grid(VALUES)), arms)


def test_what_the_runs_tell_of_themselves_enters_the_comparison(arm_runs):
    def runs(arm, value):
        return arm_runs(arm, (5,), (0, 1), best_validation=value)

    told = [*runs("scratch", 0.4), *runs("pretrained", 0.3), *runs("other", 0.9)]
    comparison = compare(grid(VALUES), ARMS, Evidence(runs=told))
    assert comparison.validation.sentences == (
        "Negative transfer at 5 training studies: on validation pretrained is behind scratch (val/dice 0.30 against "
        "0.40, mean of 2 repeats; behind in 2 of 2).",
    )
    assert [item.partition(":")[0] for item in comparison.compared] == [
        "The arms differ in",
        "Steps, patches, augmentation, schedule and validation are the same.",
        "Learning rates were not tuned",
    ]
    alone = compare(grid(VALUES), ARMS)
    assert (alone.validation.sentences, alone.compared) == ((), ())


def test_the_table_that_was_passed_stays_as_it_was():
    cases = grid(VALUES)
    before = cases.copy()
    compare(cases, ARMS)
    pd.testing.assert_frame_equal(cases, before)

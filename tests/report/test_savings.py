"""Label savings in words."""

import pytest

from lesionseg.report import compare
from lesionseg.report.savings import describe_saving, studies, times
from lesionseg.stats import Censored, CensoredInterval, LabelSaving, label_savings


def savings(case_grid, scratch, pretrained, **further):
    values = {
        (arm, size): [[mean] * 3] * 2
        for arm, means in (("scratch", scratch), ("pretrained", pretrained))
        for size, mean in means.items()
    }
    found = compare(case_grid(values, **further), ("scratch", "pretrained")).savings
    return next(one for one in found if one.score == "lesion_f1")


def test_a_number_between_the_sizes(case_grid):
    found = savings(case_grid, {2: 0.1, 8: 0.3}, {2: 0.2, 8: 0.4})
    assert found.sentence == (
        "With 2 training studies pretrained reaches the F1 that scratch reaches with 4 (95 % interval 4 to 4): 2 times "
        "as many."
    )


def test_beyond_the_largest_size_nothing_is_extrapolated(case_grid):
    found = savings(case_grid, {2: 0.1, 8: 0.3}, {2: 0.5, 8: 0.6})
    assert found.sentence == (
        "With 2 training studies pretrained reaches an F1 that scratch does not reach with 8 (95 % interval more "
        "than 8): "
        "more than 4 times as many."
    )


def test_an_arm_that_never_does_better(case_grid):
    found = savings(case_grid, {2: 0.3, 8: 0.4}, {2: 0.1, 8: 0.2})
    assert found.sentence == (
        "With 2 training studies pretrained reaches no higher F1 than scratch has with 2 (95 % interval at most 2)."
    )


def test_a_size_that_one_arm_lacks_is_left_out_of_that_arm_alone(case_grid):
    found = savings(case_grid, {2: 0.1, 8: 0.3}, {2: 0.2, 4: 0.25})
    assert [one.size for one in found.savings.savings] == [2, 4, 8]
    assert str(found.savings.savings[0].needed.estimate) == "4"


def test_one_size_makes_no_curve(case_grid):
    found = savings(case_grid, {2: 0.1}, {2: 0.2})
    assert (found.savings, found.sentence) == (None, "One size makes no learning curve: no label saving can be told.")


def test_where_nothing_is_defined_it_is_said(case_grid):
    found = savings(case_grid, {2: 0.1, 8: 0.3}, {2: 0.2, 8: 0.4}, n_reference=0)
    assert found.sentence.startswith("No label saving of pretrained can be told: ")


def test_the_tables_are_those_of_the_patients(case_grid):
    values = {
        ("scratch", 2): [[0.1, 0.2, 0.3], [0.2, 0.2, 0.4]],
        ("scratch", 8): [[0.5, 0.4, 0.6], [0.6, 0.5, 0.5]],
        ("pretrained", 2): [[0.3, 0.3, 0.4], [0.4, 0.3, 0.3]],
        ("pretrained", 8): [[0.6, 0.6, 0.7], [0.6, 0.5, 0.6]],
    }
    (found,) = (
        one for one in compare(case_grid(values), ("scratch", "pretrained")).savings if one.score == "lesion_ppv"
    )
    arms = (
        [list(map(list, zip(*values[arm, size], strict=True))) for size in (2, 8)] for arm in ("scratch", "pretrained")
    )
    expected = label_savings([2, 8], *arms)
    assert found.savings.savings == expected.savings


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (Censored(14.2), "14"),
        (Censored(2.44), "2.4"),
        (Censored(5.0), "5"),
        (Censored(20, "more than"), "more than 20"),
    ],
)
def test_studies_have_a_decimal_below_ten_alone(number, told):
    assert studies(number) == told


def test_a_factor_has_one_decimal():
    assert (times(Censored(2.84)), times(Censored(4.0, "more than"))) == ("2.8", "more than 4")


def test_without_an_interval_there_is_none_in_the_sentence():
    needed = CensoredInterval(Censored(4.0), Censored(float("nan")), Censored(float("nan")))
    saving = LabelSaving(2.0, 0.5, needed, needed, needed, 0.0, 0.0)
    assert describe_saving("lora", "scratch", "dice", saving).endswith(
        "the Dice that scratch reaches with 4: 4 times as many"
    )

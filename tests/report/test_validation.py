"""Whether an arm is behind on validation, and what it is called."""

import pytest

from lesionseg.report import ValidationMean, judge_validation

ARMS = ("scratch", "pretrained")


def best(values):
    """Best validation values from values[size][repeat]."""
    return lambda size, repeat: {"best_validation": values[size][repeat]}


def both(arm_runs, scratch, pretrained, **further):
    first = arm_runs("scratch", each=best(scratch))
    return first + arm_runs("pretrained", each=best(pretrained), **further)


FLAT = {2: [0.35, 0.35, 0.35], 5: [0.5, 0.5, 0.5]}


def test_the_second_arm_behind_is_negative_transfer(arm_runs) -> None:
    runs = both(arm_runs, FLAT, {2: [0.2, 0.36, 0.34], 5: [0.5, 0.6, 0.4]})
    found = judge_validation(runs, ARMS)
    assert found.sentences == (
        "Negative transfer at 2 training studies: on validation pretrained is behind scratch (val/dice 0.30 against "
        "0.35, mean of 3 repeats; behind in 2 of 3).",
    )
    assert found.monitor == "val/dice"
    assert [(row.arm, row.train_size, row.n_repeats) for row in found.means] == [
        ("scratch", 2, 3),
        ("pretrained", 2, 3),
        ("scratch", 5, 3),
        ("pretrained", 5, 3),
    ]
    assert [row.mean for row in found.means] == pytest.approx([0.35, 0.3, 0.5, 0.5])


def test_nothing_behind_is_one_short_sentence(arm_runs) -> None:
    turned = {2: [0.1, 0.2, 0.3], 5: FLAT[5]}
    found = judge_validation(both(arm_runs, turned, {**turned, 2: turned[2][::-1]}), ARMS)
    assert found.sentences == ("On validation pretrained is not behind scratch at any size.",)


def test_every_size_behind_has_its_sentence_and_numbers_that_differ(arm_runs) -> None:
    runs = both(arm_runs, FLAT, {2: [0.3496] * 3, 5: [0.1, 0.1, 0.1]})
    first, second = judge_validation(runs, ARMS).sentences
    assert "(val/dice 0.3496 against 0.3500, mean of 3 repeats; behind in 3 of 3)" in first
    assert second.startswith("Negative transfer at 5 training studies: ")


def test_only_repeats_of_both_arms_count(arm_runs) -> None:
    runs = both(arm_runs, {2: [0.5, None, 0.4], 5: FLAT[5]}, {2: [0.4, 0.1, None], 5: FLAT[5]})
    found = judge_validation(runs, ARMS)
    assert found.sentences == (
        "Negative transfer at 2 training studies: on validation pretrained is behind scratch (val/dice 0.40 against "
        "0.50, one repeat).",
    )
    assert found.means[:2] == (ValidationMean("scratch", 2, 0.5, 1), ValidationMean("pretrained", 2, 0.4, 1))


def test_without_transfer_it_is_just_behind(arm_runs) -> None:
    runs = both(arm_runs, FLAT, {1: FLAT[2], 2: [0.3] * 3, 5: FLAT[5]}, source=None)
    assert judge_validation(runs, ARMS).sentences == (
        "At 2 training studies pretrained is behind scratch on validation (val/dice 0.30 against 0.35, mean of 3 "
        "repeats; behind in 3 of 3).",
    )


def test_two_arms_with_a_source_are_just_behind_each_other(arm_runs) -> None:
    runs = arm_runs("pretrained", each=best(FLAT)) + arm_runs("lora", each=best({2: [0.3] * 3, 5: FLAT[5]}))
    (sentence,) = judge_validation(runs, ("pretrained", "lora")).sentences
    assert sentence.startswith("At 2 training studies lora is behind pretrained on validation (")


def test_the_arm_with_a_source_is_judged_wherever_it_stands(arm_runs) -> None:
    runs = both(arm_runs, FLAT, {2: [0.3] * 3, 5: FLAT[5]})
    (sentence,) = judge_validation(runs, ("pretrained", "scratch")).sentences
    assert sentence.startswith("Negative transfer at 2 training studies: on validation pretrained is behind scratch (")
    assert [row.arm for row in judge_validation(runs, ("pretrained", "scratch")).means[:2]] == ["pretrained", "scratch"]


def test_what_cannot_be_judged_is_said(arm_runs) -> None:
    nothing = judge_validation(arm_runs("scratch") + arm_runs("pretrained"), ARMS)
    assert nothing.means == ()
    assert nothing.sentences == (
        "Whether pretrained is behind scratch on validation could not be judged: no repeat has a value of val/dice in "
        "both arms.",
    )
    runs = both(arm_runs, FLAT, {2: FLAT[2], 5: [None] * 3})
    assert judge_validation(runs, ARMS).sentences == (
        "On validation pretrained is not behind scratch at 2.",
        "Whether pretrained is behind scratch on validation could not be judged at 5: no repeat has a value of "
        "val/dice in both arms.",
    )
    mixed = judge_validation(both(arm_runs, FLAT, FLAT, monitor="val/lesion_f1"), ARMS)
    assert mixed.sentences == (
        "Whether pretrained is behind scratch on validation could not be judged: the runs watch val/dice and "
        "val/lesion_f1.",
    )


def test_one_arm_is_behind_nothing(arm_runs) -> None:
    found = judge_validation(arm_runs("scratch", each=best(FLAT)), ("scratch",))
    assert (found.means, found.sentences) == ((), ())


def test_of_several_arms_each_is_judged_against_the_first(arm_runs) -> None:
    runs = [
        *arm_runs("scratch", best_validation=0.5),
        *arm_runs("a", best_validation=0.6),
        *arm_runs("b", best_validation=0.6),
        *arm_runs("c", (2,), best_validation=0.4),
    ]
    found = judge_validation(runs, ("scratch", "a", "b", "c"))
    behind, nowhere, unknown = found.sentences
    assert behind.startswith(
        "Negative transfer at 2 training studies: on validation c is behind scratch (val/dice 0.40 "
    )
    assert nowhere == "On validation a and b are not behind scratch at any size."
    assert unknown.startswith("Whether c is behind scratch on validation could not be judged at 5: ")
    assert [(one.arm, one.train_size) for one in found.means] == [
        *((arm, 2) for arm in ("scratch", "a", "b", "c")),
        *((arm, 5) for arm in ("scratch", "a", "b")),
    ]


def test_the_means_of_several_arms_rest_on_the_repeats_of_all(arm_runs) -> None:
    runs = [
        *arm_runs("scratch", (2,), each=lambda size, repeat: {"best_validation": 0.1 * repeat}),
        *arm_runs("a", (2,), (0, 1), best_validation=0.6),
        *arm_runs("b", (2,), (1, 2), best_validation=0.6),
    ]
    means = judge_validation(runs, ("scratch", "a", "b")).means
    assert [(one.arm, one.n_repeats) for one in means] == [("scratch", 1), ("a", 1), ("b", 1)]
    assert means[0].mean == 0.1

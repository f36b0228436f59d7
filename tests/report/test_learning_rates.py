"""Sentences on how learning rates were chosen."""

from lesionseg.report import RateSearch, describe_rates
from lesionseg.report.learning_rates import rates_of_arm

ARMS = ("scratch", "pretrained")
CANDIDATES = (0.001, 0.003, 0.01)


def searched(*chosen: float, candidates=CANDIDATES):
    """The search of each run, in order of size and repeat."""
    left = iter(chosen)
    return lambda size, repeat: {"search": RateSearch(next(left), candidates, 100)}


def test_untuned_and_the_same(arm_runs) -> None:
    assert describe_rates(arm_runs("scratch") + arm_runs("pretrained"), ARMS) == (
        "Learning rates were not tuned: 0.005 in both arms.",
    )


def test_untuned_and_not_the_same(arm_runs) -> None:
    runs = arm_runs("scratch", each=lambda size, repeat: {"learning_rate": 0.005 if size == 2 or repeat else 0.01})
    assert describe_rates(runs + arm_runs("pretrained", learning_rate=0.001), ARMS) == (
        "Learning rates were not tuned: scratch 0.005 (5 of 6 runs), 0.01 (1), pretrained 0.001.",
    )


def test_chosen_on_validation(arm_runs) -> None:
    runs = arm_runs("scratch", each=searched(0.01, 0.003, 0.01, 0.01, 0.01, 0.003))
    runs += arm_runs("pretrained", each=searched(*[0.003] * 6))
    assert describe_rates(runs, ARMS) == (
        "Learning rates were chosen per run on validation from 0.001, 0.003, 0.01 (100 steps each): scratch 0.01 (4 of "
        "6 runs), 0.003 (2); pretrained 0.003 (6).",
    )


def test_one_arm_tuned_alone_is_unfair(arm_runs) -> None:
    runs = arm_runs("scratch") + arm_runs("pretrained", each=searched(*[0.003] * 6))
    assert describe_rates(runs, ARMS) == (
        "WARNING: Learning rates were not chosen alike, which is unfair: scratch not tuned: 0.005; pretrained chosen "
        "per run on validation from 0.001, 0.003, 0.01 (100 steps each): 0.003 (6).",
    )


def test_other_candidates_and_some_runs_without_a_search_are_unfair(arm_runs) -> None:
    half = arm_runs("scratch", sizes=(2,)) + arm_runs("scratch", sizes=(5,), each=searched(0.01, 0.01, 0.003))
    runs = half + arm_runs("pretrained", each=searched(*[0.1] * 6, candidates=(0.1, 0.2)))
    assert describe_rates(runs, ARMS) == (
        "WARNING: Learning rates were not chosen alike, which is unfair: scratch not tuned in 3 of 6 runs: 0.005 and "
        "chosen per run on validation from 0.001, 0.003, 0.01 (100 steps each) in 3 of 6 runs: 0.01 (2 of 3 runs), "
        "0.003 (1); pretrained chosen per run on validation from 0.1, 0.2 (100 steps each): 0.1 (6).",
    )


def test_what_is_not_trained_has_no_rate(arm_runs) -> None:
    untrained = arm_runs("zero_shot", learning_rate=None)
    assert describe_rates(arm_runs("scratch") + untrained, ("scratch", "zero_shot")) == (
        "Learning rates were not tuned: scratch 0.005.",
    )
    assert describe_rates(untrained, ("zero_shot",)) == ()


def test_untuned_and_the_same_in_several_arms(arm_runs) -> None:
    runs = [run for arm in ("a", "b", "c") for run in arm_runs(arm)]
    assert describe_rates(runs, ("a", "b", "c")) == ("Learning rates were not tuned: 0.005 in all arms.",)


def test_the_rates_of_one_arm_alone(arm_runs) -> None:
    assert rates_of_arm(arm_runs("a")) == "not tuned: 0.005"

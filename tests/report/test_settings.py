"""Sentences on what the arms differ in."""

from lesionseg.report import WeightSource, describe_settings

ARMS = ("scratch", "pretrained")
WEIGHTS = (
    "the first weights (scratch: all drawn from the seed; pretrained: 100.0 % from runs:/4f2a (flair_lesions), digest "
    "1a2b3c4d)"
)
SAME = "Steps, patches, augmentation, schedule and validation are the same."


def test_two_arms_that_differ_in_their_init_alone(arm_runs) -> None:
    runs = arm_runs("scratch") + arm_runs("pretrained")
    assert describe_settings(runs, ARMS) == (f"The arms differ in: {WEIGHTS}.", SAME)


def test_each_key_of_init_that_differs_is_told(arm_runs) -> None:
    knobs = {"train_from": {"encoder": "never"}, "layer_decay": 0.8, "shuffle": True, "l2_sp": 0.01}
    runs = arm_runs("scratch", init={"l2_sp": 0.01}) + arm_runs("pretrained", init=knobs)
    assert describe_settings(runs, ARMS) == (
        f"The arms differ in: {WEIGHTS}, train_from (scratch not set, pretrained {{encoder: never}}), layer_decay "
        "(scratch not set, pretrained 0.8), shuffle (scratch not set, pretrained yes).",
        SAME,
    )


def test_arms_from_the_same_weights_differ_in_the_rest(arm_runs) -> None:
    runs = arm_runs("pretrained") + arm_runs("lora", init={"lora_rank": 4})
    assert describe_settings(runs, ("pretrained", "lora")) == (
        "The arms differ in: lora_rank (pretrained not set, lora 4).",
        SAME,
    )
    runs = arm_runs("pretrained") + arm_runs("again")
    assert describe_settings(runs, ("pretrained", "again"))[0] == (
        "The arms differ in nothing of their init but its name."
    )


def test_another_source_is_told_by_its_digest(arm_runs) -> None:
    other = WeightSource("b.ckpt", "nnU-Net", "99" * 32, 0.987)
    runs = arm_runs("pretrained") + arm_runs("foreign", source=other)
    assert describe_settings(runs, ("pretrained", "foreign"))[0] == (
        "The arms differ in: the first weights (pretrained: 100.0 % from runs:/4f2a (flair_lesions), digest 1a2b3c4d; "
        "foreign: 98.7 % from b.ckpt (nnU-Net), digest 99999999)."
    )


def test_what_differs_outside_init_comes_first_and_is_a_warning(arm_runs) -> None:
    more = {"trainer.steps": 400, "augment.name": "none", "augment.transforms": []}
    less = {"augment.name": "standard", "augment.transforms": [{"_target_": f"torchio.{'x' * 90}"}]}
    runs = arm_runs("scratch", settings=less) + arm_runs("pretrained", settings=more)
    warning, init = describe_settings(runs, ARMS)
    assert warning == (
        "WARNING: The arms differ in more than their init: trainer.steps (scratch 200, pretrained 400), augment.name "
        "(scratch standard, pretrained none), augment.transforms; this is no fair comparison."
    )
    assert init == f"The arms differ in: {WEIGHTS}."


def test_a_setting_that_one_arm_lacks_differs(arm_runs) -> None:
    runs = arm_runs("scratch") + arm_runs("pretrained", settings={"trainer.ema": 0.99})
    assert "trainer.ema (scratch not set, pretrained 0.99)" in describe_settings(runs, ARMS)[0]


def test_another_name_of_the_same_section_is_no_difference(arm_runs) -> None:
    runs = arm_runs("scratch", settings={"trainer.name": "default"})
    runs += arm_runs("pretrained", settings={"trainer.name": "mine"})
    assert describe_settings(runs, ARMS)[-1] == SAME
    runs = arm_runs("scratch", settings={"dataset.name": "a"}) + arm_runs("pretrained", settings={"dataset.name": "b"})
    assert "dataset.name (scratch a, pretrained b)" in describe_settings(runs, ARMS)[0]


def test_other_subjects_are_told(arm_runs) -> None:
    runs = arm_runs("scratch") + arm_runs("pretrained", each=lambda size, repeat: {"subjects": f"{size}/{repeat}!"})
    assert describe_settings(runs, ARMS)[0] == (
        "WARNING: The arms differ in more than their init: the subjects that they train, validate and test on; this is "
        "no fair comparison."
    )


def test_many_differences_are_cut(arm_runs) -> None:
    runs = arm_runs("scratch") + arm_runs("pretrained", settings={f"trainer.key{number}": 1 for number in range(9)})
    assert describe_settings(runs, ARMS)[0].endswith(
        "trainer.key5 (scratch not set, pretrained 1) and 3 more (see their config.yaml); this is no fair comparison."
    )


def test_runs_within_an_arm_that_differ_from_each_other(arm_runs) -> None:
    def at_size(size: int, repeat: int):
        return {"settings": {"trainer.steps": 400 if size == 5 else 200}}

    runs = arm_runs("scratch") + arm_runs("pretrained", each=at_size)
    assert "trainer.steps (scratch 200, pretrained 200 at 2, 400 at 5)" in describe_settings(runs, ARMS)[0]
    both = arm_runs("scratch", each=at_size) + arm_runs("pretrained", each=at_size)
    assert describe_settings(both, ARMS)[1:] == (
        SAME,
        "The runs of an arm differ from each other, in both arms alike: trainer.steps (200 at 2, 400 at 5).",
    )


def test_what_differs_at_a_size_that_the_other_arm_lacks_is_told_of_the_arm(arm_runs) -> None:
    larger = arm_runs("scratch", sizes=(10,), settings={"optim.learning_rate": 0.003})
    runs = arm_runs("scratch") + larger + arm_runs("pretrained")
    assert describe_settings(runs, ARMS)[1:] == (
        SAME,
        "WARNING: The runs of scratch differ from each other: optim.learning_rate (0.005 at 2 and 5, 0.003 at 10).",
    )


def test_what_differs_from_repeat_to_repeat_is_counted(arm_runs) -> None:
    odd = arm_runs("scratch", each=lambda size, repeat: {"settings": {"trainer.steps": 200 if repeat else 100}})
    assert describe_settings(odd, ("scratch",)) == (
        "WARNING: The runs of scratch differ from each other: trainer.steps (200 (4 of 6 runs), 100 (2)).",
    )


def test_weights_that_are_not_the_same_in_an_arm_are_told(arm_runs) -> None:
    sources = {0: WeightSource("a", "t", "a" * 64, 1.0), 1: WeightSource("b", "t", "b" * 64, 1.0)}
    runs = arm_runs("pretrained", repeats=(0, 1), each=lambda size, repeat: {"source": sources[repeat]})
    assert describe_settings(runs, ("pretrained",)) == (
        "WARNING: The runs of pretrained differ from each other: the first weights (100.0 % from a (t), digest "
        "aaaaaaaa (2 of 4 runs), 100.0 % from b (t), digest bbbbbbbb (2)).",
    )


def test_arms_without_a_common_size_are_compared_as_a_whole(arm_runs) -> None:
    runs = arm_runs("scratch", sizes=(2,)) + arm_runs("pretrained", sizes=(5,), settings={"trainer.steps": 400})
    assert "trainer.steps (scratch 200, pretrained 400)" in describe_settings(runs, ARMS)[0]


def test_learning_rates_searched_in_some_runs_are_left_to_their_own_sentence(arm_runs) -> None:
    search = object()
    searched = {"optim.learning_rates": [0.001, 0.003], "optim.search_steps": 100}
    runs = arm_runs("scratch") + arm_runs("pretrained", search=search, each=lambda *_: {"settings": searched})
    warning = describe_settings(runs, ARMS)[0]
    assert "optim" not in warning
    both = arm_runs("scratch", search=search, settings={**searched, "optim.search_steps": 50})
    both += arm_runs("pretrained", search=search, settings=searched)
    assert "optim.search_steps (scratch 50, pretrained 100)" in describe_settings(both, ARMS)[0]


def test_of_several_arms_those_that_have_the_same_are_told_together(arm_runs) -> None:
    runs = [
        *arm_runs("scratch"),
        *arm_runs("pretrained"),
        *arm_runs("lora", init={"lora_rank": 4}),
        *arm_runs("l2_sp", init={"l2_sp": 0.01}),
    ]
    differs, same = describe_settings(runs, ("scratch", "pretrained", "lora", "l2_sp"))
    assert differs == (
        "The arms differ in: the first weights (scratch: all drawn from the seed; the others: 100.0 % from runs:/4f2a "
        "(flair_lesions), digest 1a2b3c4d), lora_rank (lora 4, the others not set), l2_sp (l2_sp 0.01, the "
        "others not set)."
    )
    assert same == "Steps, patches, augmentation, schedule and validation are the same."


def test_one_arm_of_several_that_differs_outside_its_init_is_a_warning(arm_runs) -> None:
    runs = [*arm_runs("a"), *arm_runs("b"), *arm_runs("c", settings={"trainer.steps": 400})]
    loud, *_ = describe_settings(runs, ("a", "b", "c"))
    assert loud == (
        "WARNING: The arms differ in more than their init: trainer.steps (c 400, the others 200); this is no "
        "fair comparison."
    )


def test_runs_that_differ_alike_in_some_arms_name_these(arm_runs) -> None:
    steps = {"each": lambda size, repeat: {"settings": {"trainer.steps": 100 * size}}}
    everyone = [*arm_runs("a", **steps), *arm_runs("b", **steps), *arm_runs("c", **steps)]
    assert describe_settings(everyone, ("a", "b", "c"))[-1] == (
        "The runs of an arm differ from each other, in all arms alike: trainer.steps (200 at 2, 500 at 5)."
    )

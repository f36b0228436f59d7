"""What ``init`` may say: each strategy's settings, and which together mean nothing."""

from collections.abc import Callable
from typing import Any

import pytest

from lesionseg.config import conf_dir
from lesionseg.config.schema import TrainConfig
from lesionseg.errors import InputError

SOURCE = "init.checkpoint=best.ckpt"


@pytest.fixture
def faults(config_of: Callable[..., TrainConfig]) -> Callable[..., tuple[str, ...]]:
    """What a configuration is refused for."""

    def found(*overrides: str) -> tuple[str, ...]:
        with pytest.raises(InputError) as caught:
            config_of(*overrides)
        return caught.value.faults

    return found


KNOBS: dict[str, dict[str, Any]] = {
    "scratch": {},
    "threshold": {"baseline": True},
    "pretrained": {},
    "pretrained_shuffled": {"shuffle": True},
    "encoder_only": {"take": ["encoder"]},
    "zero_shot": {"train": False},
    "frozen_encoder": {"train_from": {"encoder": "never"}},
    "gradual_unfreeze": {"train_from": {"decoder": 0.2, "encoder": 0.4}},
    "discriminative_lr": {"layer_decay": 0.8},
    "l2_sp": {"l2_sp": 0.01},
    "head_first": {"train_from": {"encoder": 0.2, "decoder": 0.2}},
    "lora": {"lora_rank": 4},
}


def test_every_strategy_is_a_file():
    assert {path.stem for path in (conf_dir() / "init").glob("[!_]*.yaml")} == set(KNOBS)


@pytest.mark.parametrize("name", list(KNOBS))
def test_a_strategy_sets_its_own_and_nothing_else(config_of, name):
    init = config_of(f"init={name}", SOURCE).init
    assert init.knobs == KNOBS[name]
    assert init.from_scratch == (name in ("scratch", "threshold"))
    assert (init.name, init.min_loaded) == (name, 0.5)


@pytest.mark.parametrize("name", [name for name in KNOBS if name not in ("scratch", "pretrained")])
def test_a_strategy_says_why_and_where_it_comes_from(name):
    text = (conf_dir() / "init" / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    assert "arXiv" in text or name in ("zero_shot", "threshold")


def test_strategies_compose(config_of):
    init = config_of(
        "init=l2_sp", SOURCE, "init.layer_decay=0.8", "init.take=[encoder,decoder]", "init.train_from.encoder=0.5"
    ).init
    assert init.knobs == {
        "take": ["encoder", "decoder"],
        "layer_decay": 0.8,
        "l2_sp": 0.01,
        "train_from": {"encoder": 0.5},
    }
    assert init.parts_needed == {"encoder": "take", "decoder": "take"}
    for other in ("init.shuffle=true", "init.layer_decay=0.5", "init.train_from.encoder=never", "init.take=[encoder]"):
        assert config_of("init=lora", SOURCE, other).init.lora_rank == 4
    assert config_of("init=zero_shot", SOURCE, "init.shuffle=true").init.knobs == {"shuffle": True, "train": False}


def test_steps_are_counted_or_a_share_of_the_budget(config_of):
    init = config_of("init=gradual_unfreeze", SOURCE, "init.train_from.decoder=7", "init.train_from.encoder=0.26").init
    assert init.train_from_step(50) == {"encoder": 13, "decoder": 7, "head": 0}
    assert config_of("init=frozen_encoder", SOURCE).init.train_from_step(50) == {
        "encoder": None,
        "decoder": 0,
        "head": 0,
    }


def test_from_scratch_what_tells_of_a_source_is_ignored(config_of):
    overrides = ("init.new_channels=mean", "+init.channels.t1=mean", "init.min_loaded=0.9", "init.source=[a]")
    assert config_of("init=scratch", SOURCE, *overrides).init.knobs == {}
    assert config_of("init=pretrained", SOURCE, *overrides).init.knobs == {
        "new_channels": "mean",
        "channels": {"t1": "mean"},
    }


def test_from_scratch_rates_and_starts_may_be_those_of_an_arm(config_of):
    """A control: what the schedule does without the weights."""
    knobs = config_of("init=scratch", "init.layer_decay=0.8", "init.train_from.encoder=0.4").init.knobs
    assert knobs == {"layer_decay": 0.8, "train_from": {"encoder": 0.4}}


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        *(
            (
                ["init=scratch", f"init.{key}={value}"],
                f"init: {key}: means nothing with take=none, which draws every weight from the seed; leave it out, or "
                "take them from a source",
            )
            for key, value in (("l2_sp", "0.1"), ("lora_rank", "4"), ("shuffle", "true"))
        ),
        (["init=zero_shot", "init.lora_rank=4", "init.l2_sp=0.1", SOURCE], "init: l2_sp and lora_rank: means nothing "),
        (["init=zero_shot", "init.train_from.encoder=never", SOURCE], "init: train_from: means nothing with "),
        (["init=zero_shot", "init.take=[encoder]", SOURCE], "init: train=false: scores the source's weights, and "),
        (["init=zero_shot", "init.new_channels=fresh", SOURCE], "init: train=false: scores the source's weights, and "),
        (
            [
                "init=frozen_encoder",
                "init.train_from.decoder=never",
                "init.train_from.head=never",
                SOURCE,
            ],
            "init: train_from: no part is trained at the first step; give one of them 0, or set train=false "
            "(init=zero_shot) to train nothing at all",
        ),
        (["init=gradual_unfreeze", "init.train_from.head=10", SOURCE], "init: train_from: no part is trained at the "),
        (["init=encoder_only", "init.train_from.decoder=never", SOURCE], "init: train_from: decoder is not taken "),
        (["init=scratch", "init.train_from.encoder=never"], "init: train_from: encoder is not taken from a source, "),
        (["init=pretrained", "init.baseline=true", SOURCE], "init: baseline: a threshold on the intensity takes no "),
        (["init=lora", "init.l2_sp=0.1", SOURCE], "init: l2_sp and lora_rank: adapters leave the source's weights as "),
        (["init=pretrained", "init.take=some", SOURCE], "init.take: write all, none, or a list of the network's "),
        (["init=pretrained", "init.take=[]", SOURCE], "init.take: write all, none, or a list of the network's parts "),
        (["init=pretrained", "init.train_from.head=1.5", SOURCE], "init.train_from: write for each part a step (0, "),
        (["init=pretrained", "init.layer_decay=1.5", SOURCE], "init.layer_decay: input should be less than or equal "),
        (["init=pretrained", "init.new_channels=none", SOURCE], "init.new_channels: input should be 'zeros', 'mean' "),
        (["init=lora"], "init: init=lora needs a source model: init.checkpoint=<path or runs:/<run id>>, or "),
        (["init=gradual_unfreeze", "trainer.devices=2", SOURCE], "trainer.devices=2: parts that init.train_from "),
    ],
)
def test_what_means_nothing_is_refused_in_a_sentence(faults, overrides, fault):
    (found,) = faults(*overrides)
    assert found.startswith(fault)


def test_the_networks_parts_can_be_named(config_of, faults):
    assert config_of().model.parts is None
    assert config_of("+model.parts={encoder:[down],head:[up.out]}").model.parts == {
        "encoder": ["down"],
        "head": ["up.out"],
    }
    assert faults("+model.parts={encoder:[]}") == (
        "model.parts.encoder: list should have at least 1 item after validation, not 0, found []",
    )

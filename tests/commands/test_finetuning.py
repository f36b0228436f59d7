"""Strategies at the network at hand: what the report says, and what is told before anything starts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lesionseg.commands.initialise import check_parts, initialise, model_card, parameter_plans, source_model
from lesionseg.commands.preflight import preflight
from lesionseg.config.schema import TrainConfig
from lesionseg.errors import InputError
from lesionseg.models import UNet3D
from lesionseg.transfer import METADATA_KEY, is_adapter, load_model, merged

Configure = Callable[..., TrainConfig]


@pytest.fixture
def write_source(configure: Configure, tmp_path: Path) -> Callable[..., str]:
    """Writes a checkpoint of the tiny network; gives the override that names it."""

    def write(*overrides: str) -> str:
        config = configure(*overrides)
        card = model_card(config, ["s01"])
        network, _ = initialise(config, card, 3, None)
        weights = {f"network.{name}": value for name, value in network.state_dict().items()}
        path = tmp_path / "source.ckpt"
        torch.save({"state_dict": weights, METADATA_KEY: card.to_dict()}, path)
        return f"init.checkpoint={path}"

    return write


@pytest.fixture
def start(configure: Configure, write_source: Callable[..., str], tmp_path: Path) -> Callable[..., Any]:
    """The network of a configuration and its report."""

    def begin(*overrides: str, seed: int = 8) -> Any:
        config = configure(write_source(), *overrides)
        source = source_model(config, None, tmp_path)
        return initialise(config, model_card(config, []), seed, source)

    return begin


def _source(tmp_path: Path) -> Any:
    return load_model(tmp_path / "source.ckpt").weights


def _count(network: nn.Module, *parts: str) -> int:
    return sum(p.numel() for name, p in network.named_parameters() if name.partition(".")[0] in parts)


def test_encoder_only_takes_the_encoder_and_its_share_is_of_that(start: Any, tmp_path: Path) -> None:
    network, report = start("init=encoder_only", "init.min_loaded=1.0")
    fresh, _ = start("init=scratch")
    there = _source(tmp_path)
    for name, value in network.state_dict().items():
        expected = there if name.startswith("encoder.") else fresh.state_dict()
        assert torch.equal(value, expected[name]), name
    assert (report.taken_share, report.loaded_share < 1) == (1, True)
    assert [(name, shares.loaded, shares.fresh) for name, shares in report.parts.items()] == [
        ("encoder", 1, 0),
        ("decoder", 0, 1),
        ("head", 0, 1),
    ]
    text = report.summary()
    assert "  by part: encoder 100.0% loaded; decoder 100.0% fresh, 100.0% of the source's skipped; head" in text
    total = f"{_count(network, 'encoder', 'decoder', 'head'):,}"
    assert f"  strategy: take=['encoder']; {total} values trained at the first step" in text


def test_too_little_of_what_was_to_be_taken_names_it(configure: Configure, write_source: Any, tmp_path: Path) -> None:
    config = configure(write_source(), "init=encoder_only", "model.network.widths=[4,16]")
    with pytest.raises(InputError) as caught:
        initialise(config, model_card(config, []), 0, source_model(config, None, tmp_path))
    assert "% of the values of its encoder come from it, init.min_loaded asks for 50%" in str(caught.value)


def test_shuffled_weights_are_the_sources_values_in_another_order(start: Any, tmp_path: Path) -> None:
    network, report = start("init=pretrained_shuffled")
    there = _source(tmp_path)
    for name, value in network.state_dict().items():
        assert torch.equal(value.flatten().sort().values, there[name].flatten().sort().values)
    again, _ = start("init=pretrained_shuffled")
    other, _ = start("init=pretrained_shuffled", seed=9)
    key = "encoder.levels.1.body.0.weight"
    assert not torch.equal(network.state_dict()[key], there[key])
    assert torch.equal(network.state_dict()[key], again.state_dict()[key])
    assert not torch.equal(network.state_dict()[key], other.state_dict()[key])
    assert report.loaded_share == 1
    assert "CONTROL: the source's values were permuted within each tensor (init.shuffle)" in report.differences
    assert report.source_digest == start("init=pretrained")[1].source_digest, "the source is the same"


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["init=pretrained"], ("encoder", "decoder", "head")),
        (["init=scratch"], ("encoder", "decoder", "head")),
        (["init=frozen_encoder"], ("decoder", "head")),
        (["init=gradual_unfreeze"], ("head",)),
        (["init=head_first"], ("head",)),
        (["init=zero_shot"], ()),
        (["init=l2_sp", "init.train_from.encoder=1"], ("decoder", "head")),
    ],
)
def test_the_report_counts_what_the_first_step_trains(start: Any, overrides: list[str], parts: Any) -> None:
    network, report = start(*overrides)
    assert report.trained == _count(network, *parts)
    written = json.loads(json.dumps(report.to_json()))
    assert written["trained"] == report.trained
    assert set(written["parts"]) == {"encoder", "decoder", "head"}
    assert ("strategy:" in report.summary()) == (overrides[0] not in ("init=pretrained", "init=scratch"))


def test_lora_starts_as_the_source_and_trains_its_adapters(start: Any, tmp_path: Path) -> None:
    network, report = start("init=lora", "init.lora_rank=2")
    adapters = [p for name, p in network.named_parameters() if is_adapter(name)]
    assert report.trained == sum(p.numel() for p in adapters) < _count(network, "encoder", "decoder", "head") / 2
    plain = UNet3D(1, widths=(4, 8))
    plain.load_state_dict(dict(_source(tmp_path)))
    image = torch.randn(1, 1, 16, 16, 16)
    assert torch.equal(network.eval()(image), plain.eval()(image))
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in merged(network).items())
    mixed, report = start("init=lora", "init.lora_rank=2", "init.take=[encoder]")
    whole = _count(mixed, "decoder", "head")
    inside = sum(p.numel() for name, p in mixed.named_parameters() if is_adapter(name))
    assert report.trained == whole + inside, "what is fresh is trained as a whole"


def test_channels_are_filled_as_told(start: Any, tmp_path: Path) -> None:
    network, report = start("init=pretrained", "task=new_lesions", "init.new_channels=mean")
    stem = "encoder.levels.0.body.0.weight"
    assert torch.equal(network.state_dict()[stem][:, 1], _source(tmp_path)[stem][:, 0])
    assert report.strategy == {"new_channels": "mean"}
    with pytest.raises(InputError) as caught:
        start("init=pretrained", "+init.channels.t2=mean", "+init.channels.flair=t1")
    assert caught.value.faults == (
        "init.channels: 't2' is none of the inputs ['flair']",
        "init.channels: 'flair' cannot take 't1': the source has ['flair']; or write zeros, mean or fresh",
    )


def test_a_threshold_that_will_be_chosen_is_no_difference(start: Any, configure: Configure) -> None:
    def told(*overrides: str) -> bool:
        _, report = start("init=pretrained", *overrides)
        return any("threshold" in difference for difference in report.differences)

    assert told("metrics.threshold=0.3")
    assert not told("metrics.threshold=0.3", "metrics.threshold_criterion=task")


def test_zero_shot_of_weights_that_are_not_all_there_is_refused(start: Any) -> None:
    with pytest.raises(InputError) as caught:
        start("init=zero_shot", "model.network.block=plain", "task.inputs=[t1]", "init.min_loaded=0")
    assert "init.train=false scores the weights as they are, and 1 of the network's tensors do not come from it" in str(
        caught.value
    )
    assert "(encoder.levels.0.body.0.weight); choose the source's model and channels" in str(caught.value)


class Other(nn.Module):
    """A network whose modules have other names."""

    def __init__(self, in_channels: int = 1) -> None:
        super().__init__()
        self.down = nn.Conv3d(in_channels, 4, 3, padding=1)
        self.out = nn.Conv3d(4, 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.out(self.down(image))
        return logits


def _named_otherwise(config: TrainConfig, parts: Any = None) -> TrainConfig:
    model = config.model.model_copy(update={"network": {"_target_": "nets.Other"}, "parts": parts})
    return config.model_copy(update={"model": model})


def test_a_part_that_the_network_lacks_is_told(configure: Configure) -> None:
    config = _named_otherwise(configure("init=frozen_encoder", "init.checkpoint=x", "init.take=[head,encoder]"))
    with pytest.raises(InputError) as caught:
        check_parts(config, Other())
    way_out = (
        "name its parts in model.parts, from the image to the logits, as in "
        "'+model.parts={encoder:[down],head:[out]}'; "
        "its parameters begin with down, out"
    )
    assert caught.value.faults == (
        f"init.take: nets.Other has no parameters of a part 'encoder'; {way_out}",
        f"init.take: nets.Other has no parameters of a part 'head'; {way_out}",
    )
    check_parts(_named_otherwise(config, {"encoder": ["down"], "head": ["out"]}), Other())
    for init in ("init=pretrained", "init=l2_sp", "init=lora", "init=zero_shot"):
        check_parts(_named_otherwise(configure(init, "init.checkpoint=x")), Other())


def test_layers_need_every_parameter_in_a_part(configure: Configure) -> None:
    config = _named_otherwise(configure("init=discriminative_lr", "init.checkpoint=x"), {"encoder": ["down"]})
    with pytest.raises(InputError, match=r"init.layer_decay: 2 parameters of nets.Other belong to no part, the first"):
        check_parts(config, Other())


def test_a_missing_part_is_told_before_anything_starts(configure: Configure, write_source: Any, tmp_path: Path) -> None:
    jobs = [
        configure(write_source(), f"init={name}", "+model.parts={decoder:[decoder],head:[head]}")
        for name in ("pretrained", "encoder_only", "frozen_encoder")
    ]
    with pytest.raises(InputError) as caught:
        preflight(jobs)
    assert [fault.partition(";")[0] for fault in caught.value.faults] == [
        "init.take: lesionseg.models.UNet3D has no parameters of a part 'encoder'",
        "init.train_from: lesionseg.models.UNet3D has no parameters of a part 'encoder'",
    ]
    assert not (tmp_path / "outputs" / "runs").exists()


def test_a_first_step_that_trains_nothing_is_told(configure: Configure, write_source: Any, tmp_path: Path) -> None:
    parts = "+model.parts={encoder:[encoder],rest:[decoder,head]}"
    config = configure(write_source(), "init=frozen_encoder", "+init.train_from.rest=2", parts)
    with pytest.raises(InputError, match=r"init=frozen_encoder: nothing of .*UNet3D is trained at the first step; let"):
        initialise(config, model_card(config, []), 0, source_model(config, None, tmp_path))


def test_the_regimes_are_those_of_the_settings(start: Any, configure: Configure, write_source: Any) -> None:
    overrides = ("init=gradual_unfreeze", "init.l2_sp=0.1", "init.layer_decay=0.5")
    network, report = start(*overrides)
    plan = parameter_plans(configure(write_source(), *overrides, "trainer.steps=10"), network, report)
    first = plan["encoder.levels.0.body.0.weight"]
    assert (first.first_step, first.rate, first.l2_sp) == (4, 1 / 8, 0.1)
    assert plan["decoder.levels.0.body.0.weight"].first_step == 2
    assert (plan["head.weight"].first_step, plan["head.weight"].rate) == (0, 1.0)

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lesionseg.commands.initialise import (
    check_network,
    check_parts,
    initialise,
    model_card,
    source_model,
)
from lesionseg.config.schema import TrainConfig
from lesionseg.errors import InputError
from lesionseg.models import UNet3D
from lesionseg.transfer.checkpoint import METADATA_KEY, SourceModel, load_model
from lesionseg.transfer.finetuning import is_adapter, merged

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
def source(write_source: Callable[..., str]) -> Path:
    """A checkpoint of the tiny network, as training writes it."""
    return Path(write_source().partition("=")[2])


def _initialised(config: TrainConfig, seed: int, source: SourceModel | None = None) -> Any:
    return initialise(config, model_card(config, []), seed, source)


def test_fresh_weights_come_from_the_seed_alone(configure):
    torch.manual_seed(99)
    first, report = _initialised(configure(), 1)
    again, _ = _initialised(configure("repeat=4"), 1)
    other, _ = _initialised(configure(), 2)
    pairs = list(zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert all(torch.equal(one, two) for one, two in pairs)
    assert not torch.equal(first.head.weight, other.head.weight)
    assert report.summary() == "weights: all fresh (from scratch)"
    assert report.loaded_share == 0


def test_pretrained_takes_the_sources_weights(configure, source, tmp_path):
    config = configure("init=pretrained", f"init.checkpoint={source}")
    model = source_model(config, None, tmp_path)
    assert model is not None
    network, report = _initialised(config, 8, model)
    assert report.loaded_share == 1
    assert report.source == str(source)
    assert torch.equal(network.head.weight, load_model(source).weights["head.weight"])


@pytest.fixture
def foreign(configure: Configure, tmp_path: Path) -> Path:
    """The tiny network's state dict as another program saves it: under a prefix, without a word on its channels."""
    network, _ = _initialised(configure(), 3)
    path = tmp_path / "foreign.pt"
    torch.save({"state_dict": {f"module.{name}": value for name, value in network.state_dict().items()}}, path)
    return path


def test_another_programs_weights_are_taken_once_their_channels_are_told(configure, foreign, tmp_path):
    told = ["init=pretrained", f"init.checkpoint={foreign}", "init.source_inputs=[FLAIR]"]
    config = configure(*told, "task=new_lesions")
    network, report = _initialised(config, 8, source_model(config, None, tmp_path))
    theirs = torch.load(foreign, weights_only=True)["state_dict"]
    stem = "encoder.levels.0.body.0.weight"
    assert torch.equal(network.state_dict()[stem][:, :1], theirs[f"module.{stem}"])
    assert not network.state_dict()[stem][:, 1:].any()
    assert (report.source_inputs, report.inputs) == (("flair",), ("flair", "prior.flair"))
    assert report.source_task == "PyTorch"
    notes = "\n".join(report.differences)
    assert "WARNING: PyTorch does not tell the source's inputs, spacing, normalisation" in notes
    assert "the prefix 'module.' was taken from every name" in notes


def test_channels_that_nobody_tells_are_asked_for(configure, foreign, tmp_path):
    config = configure("init=pretrained", f"init.checkpoint={foreign}")
    with pytest.raises(InputError) as caught:
        _initialised(config, 8, source_model(config, None, tmp_path))
    assert str(caught.value) == (
        f"init.checkpoint={foreign}: does not tell its input channels; name them in order, such as "
        "init.source_inputs=[flair]"
    )


def test_too_little_that_fits_stops_the_run(configure, source, tmp_path):
    config = configure("init=pretrained", f"init.checkpoint={source}", "model.network.widths=[8,16]")
    with pytest.raises(InputError) as caught:
        _initialised(config, 0, source_model(config, None, tmp_path))
    text = str(caught.value)
    assert text.startswith(f"init.checkpoint={source}: only ")
    assert "% of the network's values come from it, init.min_loaded asks for 50%; choose the source's model" in text
    assert f"weights: 0.0% of the values from {source} (" in text


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (
            ["task.window_size=[16,17,16]"],
            "task.window_size=[16, 17, 16]: model.network takes sides that are multiples of 2",
        ),
        (
            ["task.patch_size=[17,16,16]"],
            "task.patch_size=[17, 16, 16], task.inputs=['flair']: model.network cannot take patches of shape "
            "(1, 17, 16, 16) (Sizes of tensors must match",
        ),
        (
            ["model.network.widths=[4,8,8,8]", "task.patch_size=[8,8,8]"],
            "(Expected more than 1 spatial element when training",
        ),
        (["model.network.in_channels=3"], "to have 3 channels, but got 1 channels instead"),
        (
            ["model.network.out_channels=2"],
            "model.network: gives (2, 2, 16, 16, 16) for patches of shape (2, 1, 16, 16, 16), wanted is one lesion "
            "map of the same size for each; set out_channels to 1",
        ),
        (["model.network.norm=layer"], "model.network: norm must be 'instance', 'batch' or 'group', not 'layer'"),
        (["model.network.widths=[4]"], "model.network: a U-Net needs at least two levels; widths is [4]"),
        (["model.network._target_=argparse.Namespace"], "model.network: _target_ 'argparse.Namespace' is no Module"),
    ],
)
def test_a_network_that_does_not_fit_the_task_is_told(configure, overrides, fault):
    with pytest.raises(InputError) as caught:
        check_network(configure(*overrides))
    (found,) = caught.value.faults
    assert fault in found


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


def test_encoder_only_takes_the_encoder_and_its_share_is_of_that(start, tmp_path):
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
def test_the_report_counts_what_the_first_step_trains(start, overrides, parts):
    network, report = start(*overrides)
    assert report.trained == _count(network, *parts)
    written = json.loads(json.dumps(report.to_json()))
    assert written["trained"] == report.trained
    assert set(written["parts"]) == {"encoder", "decoder", "head"}
    assert ("strategy:" in report.summary()) == (overrides[0] not in ("init=pretrained", "init=scratch"))


def test_lora_starts_as_the_source_and_trains_its_adapters(start, tmp_path):
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


def test_zero_shot_of_weights_that_are_not_all_there_is_refused(start):
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


def test_a_part_that_the_network_lacks_is_told(configure):
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

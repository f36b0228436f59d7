"""Strategies in training: what moves, by how much, and that an interruption changes nothing."""

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lesionseg.data.cache import CachedStudy
from lesionseg.models import UNet3D
from lesionseg.training import Machine, keep
from lesionseg.transfer import L2SPPenalty, add_adapters, is_adapter, load_model, plan_parameters


class Stop(Exception):
    """The plug is pulled."""


def network(rank: int = 0, norm: Any = "instance") -> UNet3D:
    torch.manual_seed(0)
    made = UNet3D(1, widths=(4, 8), norm=norm)
    if rank:
        add_adapters(made, rank, set(made.state_dict()))
    return made


@pytest.fixture
def make(make_module: Any) -> Any:
    """A module whose network is trained by a strategy; everything comes from the source."""

    def module(steps: int, strategy: dict[str, Any], norm: Any = "instance", **optimiser: Any) -> Any:
        made = network(2 if strategy.get("adapters_only") else 0, norm)
        plan = plan_parameters(dict(made.named_parameters()), set(network(norm=norm).state_dict()), **strategy)
        return make_module(steps=steps, network=made, plans=plan, **optimiser)

    return module


def _state(module: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.network.state_dict().items()}


def _moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def _watch(module: Any) -> list[dict[str, Tensor]]:
    """The network's state before each step."""
    states: list[dict[str, Tensor]] = []
    step = module.training_step

    def watched(batch: Any, batch_idx: int) -> Any:
        states.append(_state(module))
        return step(batch, batch_idx)

    module.training_step = watched
    return states


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_what_is_frozen_is_bit_identical_after_training(
    make: Any, make_data: Any, train: Any, tmp_path: Path, norm: Any
) -> None:
    module = make(4, {"train_from": {"encoder": None}}, norm)
    before = _state(module)
    best, _ = train(module, make_data(steps=4), tmp_path)
    moved = _moved(before, _state(module))
    assert not any(name.startswith("encoder.") for name in moved), "nor its norms' running averages"
    assert {name.partition(".")[0] for name in moved} == {"decoder", "head"}
    stored = load_model(best).weights
    assert all(torch.equal(stored[name], before[name]) for name in before if name.startswith("encoder."))
    (group,) = module.trainer.optimizers[0].param_groups
    assert len(group["params"]) == len([n for n, _ in module.network.named_parameters() if not n.startswith("enc")])


def test_parts_join_at_their_steps(make: Any, make_data: Any, train: Any, tmp_path: Path) -> None:
    module = make(5, {"train_from": {"decoder": 1, "encoder": 3}}, warmup_steps=0)
    states = _watch(module)
    train(module, make_data(steps=5), tmp_path)
    states.append(_state(module))
    joined = [{name.partition(".")[0] for name in _moved(*pair)} for pair in pairwise(states)]
    assert joined == [
        {"head"},
        {"head", "decoder"},
        {"head", "decoder"},
        {"head", "decoder", "encoder"},
        {"head", "decoder", "encoder"},
    ]


def test_each_layer_has_its_rate_at_every_step(make: Any, make_data: Any, train: Any, tmp_path: Path) -> None:
    module = make(2, {"layer_decay": 0.5}, learning_rate=0.4, warmup_steps=1)
    used: list[list[float]] = []
    step = module.optimizer_step

    def watched(*arguments: Any, **named: Any) -> None:
        used.append([group["lr"] for group in module.trainer.optimizers[0].param_groups])
        step(*arguments, **named)

    module.optimizer_step = watched
    train(module, make_data(steps=2), tmp_path)
    rates = [0.4 / 8, 0.4 / 4, 0.4 / 2, 0.4]  # two levels down, one up, the head
    assert used == [pytest.approx([rate / 2 for rate in rates]), pytest.approx(rates)]
    names = {id(parameter): name for name, parameter in module.network.named_parameters()}
    groups = module.trainer.optimizers[0].param_groups
    stems = [{".".join(names[id(p)].split(".")[:3]) for p in group["params"]} for group in groups]
    assert stems[:2] == [{"encoder.levels.0"}, {"encoder.levels.1"}]
    assert stems[2] == {"decoder.levels.0", "decoder.upsamplings.0"}
    assert stems[3] == {"head.weight", "head.bias"}


def test_the_pull_is_half_the_squared_way_and_its_gradient_the_way_itself() -> None:
    made = network()
    plan = plan_parameters(dict(made.named_parameters()), {"head.weight", "head.bias"}, l2_sp=0.3)
    start = L2SPPenalty(made, plan)
    assert start(made).item() == 0
    with torch.no_grad():
        made.head.weight += torch.tensor([1.0, -2.0, 0.0, 3.0]).reshape(1, 4, 1, 1, 1)
        made.head.bias += 0.5
        made.decoder.levels[0].body[0].weight += 100  # not pulled
    penalty = start(made)
    assert penalty.item() == pytest.approx(0.3 / 2 * (1 + 4 + 9 + 0.25))
    penalty.backward()
    assert made.head.weight.grad is not None
    assert made.head.weight.grad.flatten().tolist() == pytest.approx([0.3, -0.6, 0.0, 0.9], abs=1e-6)
    assert made.head.bias.grad is not None
    assert made.head.bias.grad.item() == pytest.approx(0.15)
    assert start.state_dict() == {}


def test_the_pull_is_part_of_the_loss_and_takes_the_place_of_weight_decay(
    make: Any, make_data: Any, train: Any, tmp_path: Path
) -> None:
    taken = {name for name, _ in network().named_parameters() if not name.startswith("head.")}
    module = make(3, {"l2_sp": 5.0}, warmup_steps=0)
    module.plans |= {name: type(plan)() for name, plan in module.plans.items() if name not in taken}
    _, records = train(module, make_data(steps=3), tmp_path)
    groups = module.trainer.optimizers[0].param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(0.0, len(taken)), (0.01, 2)]
    pulls = [value for _, value in records.of("train/l2_sp")]
    assert pulls[0] == 0
    assert pulls[1] > 0
    free = make(3, {}, warmup_steps=0)
    train(free, make_data(steps=3), tmp_path / "free")

    def way(other: Any) -> float:
        first = network().state_dict()
        return sum(float((other.network.state_dict()[name] - first[name]).square().sum()) for name in taken)

    assert way(module) < 0.9 * way(free)


def test_the_progress_lines_tell_the_loss_without_the_pull(
    make: Any, make_data: Any, train: Any, tmp_path: Path
) -> None:
    _, records = train(make(4, {"l2_sp": 1000.0}, warmup_steps=0), make_data(steps=4), tmp_path)
    losses = [value for _, value in records.of("train/loss")]
    shown = [line.split("  ")[1] for line in records.lines if line.startswith("step ")]
    assert shown == [f"loss {sum(pair) / 2:.3f}" for pair in (losses[:2], losses[2:])]
    assert records.of("train/l2_sp")[-1][1] > 0.01, "it would show"


def test_only_adapters_are_trained_and_the_checkpoint_is_a_plain_network(
    make: Any, make_data: Any, train: Any, tmp_path: Path, studies: list[CachedStudy]
) -> None:
    module = make(4, {"adapters_only": True})
    before = _state(module)
    best, _ = train(module, make_data(steps=4), tmp_path)
    moved = _moved(before, _state(module))
    assert moved == {name for name in before if is_adapter(name)}
    model = load_model(best)
    assert set(model.weights) == set(network().state_dict())
    image = torch.randn(1, 1, 16, 16, 16)
    assert not torch.allclose(model.network()(image), network().eval()(image))
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert set(last) == {f"network.{name}" for name in before}
    if (tmp_path / "best.ckpt").stat().st_mtime >= (tmp_path / "last.ckpt").stat().st_mtime:
        module.network.eval()
        assert torch.equal(model.network()(image), module.network(image))


STRATEGIES = {
    "gradual": {"train_from": {"decoder": 2, "encoder": 5}},
    "l2_sp": {"l2_sp": 0.5},
    "lora": {"adapters_only": True},
    "all at once": {"train_from": {"encoder": 3}, "layer_decay": 0.7, "l2_sp": 0.1},
    "frozen batch norms": {"train_from": {"encoder": 4}},
}


@pytest.mark.parametrize("stopped_after", [1, 2])
@pytest.mark.parametrize("name", list(STRATEGIES))
def test_a_stopped_run_ends_with_the_very_weights_of_an_uninterrupted_one(
    make: Any,
    make_data: Any,
    train: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    stopped_after: int,
) -> None:
    strategy, norm = STRATEGIES[name], "batch" if "batch" in name else "instance"
    whole = make(7, strategy, norm)
    best, told = train(whole, make_data(steps=7), tmp_path / "whole")

    stopped = make(7, strategy, norm)
    training_step = type(stopped).training_step

    def step(module: Any, batch: Any, batch_idx: int) -> Any:
        if module.global_step == 2 * stopped_after + 1:
            raise Stop
        return training_step(module, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(type(stopped), "training_step", step)
        with pytest.raises(Stop):
            train(stopped, make_data(steps=7), tmp_path / "parts")

    resumed = make(7, strategy, norm)
    best_resumed, told_resumed = train(resumed, make_data(steps=7), tmp_path / "parts")
    assert not _moved(_state(whole), _state(resumed))
    assert load_model(best_resumed).digest == load_model(best).digest
    after = 2 * stopped_after
    for metric in ("train/loss", "train/l2_sp"):
        assert told_resumed.of(metric) == [pair for pair in told.of(metric) if pair[0] > after]


def test_without_training_the_checkpoint_is_the_network_as_it_is(
    make: Any, make_data: Any, train: Any, tmp_path: Path
) -> None:
    module = make(4, {})
    before = copy.deepcopy(_state(module))
    metrics: list[tuple[dict[str, float], int]] = []
    lines: list[str] = []
    best = keep(
        module,
        make_data(steps=4),
        folder=tmp_path,
        machine=Machine("cpu", precision="32-true"),
        log=lambda values, step: metrics.append((dict(values), step)),
        say=lines.append,
    )
    assert best == tmp_path / "best.ckpt"
    model = load_model(best)
    assert all(torch.equal(value, before[name]) for name, value in model.weights.items())
    ((values, step),) = metrics
    assert step == 0
    assert set(values) == {"val/lesion_sensitivity", "val/lesion_ppv", "val/lesion_f1", "val/dice"}
    assert lines[0].startswith("not trained  validation sensitivity ")
    module.on_validation_epoch_start()
    module.network.eval()
    module.validation_step(make_data().validation[0], 0)
    assert values["val/dice"] == pytest.approx(module.cases[0]["dice"], nan_ok=True)


def test_a_loss_with_parameters_is_trained_with_the_rest(make_module: Any) -> None:
    class Weighted(nn.Module):
        """A loss that learns its scale."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

    module = make_module()
    module.loss = Weighted()
    groups = module.configure_optimizers()["optimizer"].param_groups
    assert [len(group["params"]) for group in groups] == [len(list(module.parameters()))]

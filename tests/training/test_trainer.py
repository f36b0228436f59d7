"""Training as a whole: the budget, what is kept of it, and going on after a stop."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lesionseg.errors import InputError
from lesionseg.metrics import CASE_SCORES
from lesionseg.models import UNet3D
from lesionseg.training.module import NotFiniteError
from lesionseg.training.trainer import Machine, check_machine, choose_precision, keep, rehearse
from lesionseg.transfer.checkpoint import load_model
from lesionseg.transfer.finetuning import add_adapters, is_adapter, plan_parameters


class Stop(Exception):
    """The plug is pulled."""


def _weights(module: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.network.state_dict().items()}


def _same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _score(values: list[float]) -> Callable[[Any], None]:
    """Replaces the validation's averages by these, one a validation."""
    left = iter(values)

    def end(module: Any) -> None:
        value = next(left)
        for name in ("lesion_sensitivity", "lesion_ppv", "lesion_f1", "dice"):
            module.log(f"val/{name}", value, sync_dist=module.trainer.world_size > 1)
        module.log("step", float(module.global_step), sync_dist=module.trainer.world_size > 1)

    return end


def test_the_budget_is_used_to_its_last_step_and_validated_there(make_module, make_data, train, tmp_path):
    module = make_module(steps=5)
    _, records = train(module, make_data(steps=5, validate_every=2), tmp_path)
    assert module.trainer.global_step == 5
    assert [step for step, _ in records.of("train/loss")] == [1, 2, 3, 4, 5]
    assert [step for step, _ in records.of("val/dice")] == [2, 4, 5]
    assert [step for step, _ in records.of("train/lr")] == [1, 2, 3, 4, 5]
    assert all(0 < seconds < 60 for _, seconds in records.of("train/seconds_per_step"))
    assert [line.split("  ")[0] for line in records.lines] == ["step 2/5", "step 4/5", "step 5/5"]
    assert records.lines[-1].startswith("step 5/5  loss ")
    assert records.lines[-1].endswith("  0:00:00 left")


class WithDropout(nn.Module):
    """Draws from torch's own generator at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv3d(1, 1, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(nn.functional.dropout(image, 0.5, self.training))
        return logits


NAN = float("nan")


@pytest.mark.parametrize(
    ("scores", "kept_step", "told"),
    [
        ([0.1, 0.9, 0.5], 4, False),
        ([0.9, 0.1, 0.5], 2, False),
        ([0.1, 0.2, 0.3], 6, False),
        ([NAN, 0.2, NAN], 4, False),
        ([NAN, 0.0, 0.0], 6, True),
        ([NAN, NAN, NAN], 6, True),
    ],
)
def test_the_weights_of_the_highest_score_are_kept_or_the_last_where_none_is_above_zero(
    make_module, make_data, train, tmp_path, monkeypatch, scores, kept_step, told
):
    module = make_module(steps=6)
    at_step: dict[int, dict[str, torch.Tensor]] = {}
    end = _score(scores)

    def remember(this: Any) -> None:
        at_step[this.global_step] = _weights(this)
        end(this)

    monkeypatch.setattr(type(module), "on_validation_epoch_end", remember)
    best, records = train(module, make_data(steps=6), tmp_path, monitor="val/lesion_f1")
    assert sorted(at_step) == [2, 4, 6]
    assert _same(dict(load_model(best).weights), at_step[kept_step])
    line = "val/lesion_f1 never rose above zero: the last weights are kept, none being the best"
    assert (line in records.lines) is told


@pytest.mark.parametrize("damage", [b"", b"no checkpoint", "zeros", "another file"])
def test_a_damaged_last_checkpoint_is_set_aside(make_module, make_data, train, tmp_path, damage):
    best, _ = train(make_module(steps=4), make_data(steps=4), tmp_path / "whole")
    folder = tmp_path / "damaged"
    train(make_module(steps=2), make_data(steps=2), folder)
    last = folder / "last.ckpt"
    if damage == "zeros":
        content = bytearray(last.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
        damage = bytes(content)
    elif damage == "another file":
        damage = best.read_bytes()  # weights alone
    last.write_bytes(damage)
    again, records = train(make_module(steps=4), make_data(steps=4), folder)
    assert any("is damaged, and set aside as last.damaged" in line for line in records.lines)
    assert (folder / "last.damaged").read_bytes() == damage
    assert _same(dict(load_model(again).weights), dict(load_model(best).weights))


def test_a_rate_out_of_all_bounds_ends_with_step_and_studies(make_module, make_data, train, tmp_path):
    module = make_module(learning_rate=1e30, warmup_steps=0, names=["sub-01", "sub-02", "sub-03"])
    with pytest.raises(NotFiniteError, match=r"the loss is (nan|inf) at step \d, in a batch of sub-0"):
        train(module, make_data(), tmp_path)


@dataclass(frozen=True)
class Note:
    """Takes metrics in whichever process they are logged."""

    file: Path

    def __call__(self, metrics: Any, step: int = 0) -> None:
        with self.file.open("a") as stream:
            stream.writelines(f"{step} {name}\n" for name in metrics if name in ("train/loss", "val/dice"))


def test_several_devices_train_one_model_and_the_first_of_them_speaks(
    make_module, make_data, train, tmp_path, monkeypatch
):
    module = make_module(steps=4)
    monkeypatch.setattr(type(module), "on_validation_epoch_end", _score([0.5, 0.25]))
    machine = Machine("cpu", devices=2, strategy="ddp_fork", precision="32-true")
    note = Note(tmp_path / "told.txt")
    best, _ = train(module, make_data(steps=4), tmp_path, machine=machine, log=note)
    assert note.file.read_text().split("\n")[:-1] == [
        "1 train/loss",
        "2 train/loss",
        "2 val/dice",
        "3 train/loss",
        "4 train/loss",
        "4 val/dice",
    ]
    assert not _same(dict(load_model(best).weights), _weights(module)), "the best is not the last"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt", "told.txt"]


@pytest.mark.parametrize(("steps", "late"), [(1, 1), (4, 1), (5, 2)])
def test_a_rehearsal_is_the_training_and_leaves_nothing(
    make_module, make_data, train, tmp_path, monkeypatch, steps, late
):
    whole, short = make_module(steps=steps), make_module(steps=steps)
    _, told = train(whole, make_data(steps=steps, validate_every=steps), tmp_path / "whole", gradient_clip=0.01)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    score, loss = rehearse(
        short,
        make_data(steps=steps, validate_every=steps),
        machine=Machine("cpu", precision="32-true"),
        monitor="val/lesion_sensitivity",
        gradient_clip=0.01,
    )
    assert _same(_weights(whole), _weights(short))
    losses = [value for _, value in told.of("train/loss")]
    assert loss == pytest.approx(sum(losses[-late:]) / late)
    assert score == told.of("val/lesion_sensitivity")[-1][1]
    assert list(Path().iterdir()) == []


def test_precision_is_as_wanted_or_what_the_machine_has(monkeypatch):
    assert choose_precision("16-mixed", "cpu") == "16-mixed"
    for available, chosen in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda have=available: have)
        assert choose_precision("auto", "cpu") == chosen
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for available, chosen in ((True, "bf16-mixed"), (False, "16-mixed")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda have=available: have)
        assert choose_precision("auto", "auto") == chosen


def test_a_machine_that_is_not_there_is_told():
    with pytest.raises(InputError) as caught:
        check_machine(Machine("tpu", 1, "auto", "32-true"))
    assert str(caught.value).startswith(
        "trainer.accelerator=tpu, devices=1, strategy=auto, precision=32-true: Lightning cannot train so here ("
    )
    assert str(caught.value).endswith("); auto, 1, auto, auto works everywhere")
    with pytest.raises(InputError, match=r"trainer.accelerator=nope, .* \(.*nope.*\); auto"):
        check_machine(Machine("nope"))


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


def _moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_what_is_frozen_is_bit_identical_after_training(make, make_data, train, tmp_path, norm):
    module = make(4, {"train_from": {"encoder": None}}, norm)
    before = _weights(module)
    best, _ = train(module, make_data(steps=4), tmp_path)
    moved = _moved(before, _weights(module))
    assert not any(name.startswith("encoder.") for name in moved), "nor its norms' running averages"
    assert {name.partition(".")[0] for name in moved} == {"decoder", "head"}
    stored = load_model(best).weights
    assert all(torch.equal(stored[name], before[name]) for name in before if name.startswith("encoder."))
    (group,) = module.trainer.optimizers[0].param_groups
    assert len(group["params"]) == len([n for n, _ in module.network.named_parameters() if not n.startswith("enc")])


def test_the_pull_is_part_of_the_loss_and_takes_the_place_of_weight_decay(make, make_data, train, tmp_path):
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


def test_only_adapters_are_trained_and_the_checkpoint_is_a_plain_network(make, make_data, train, tmp_path, studies):
    module = make(4, {"adapters_only": True})
    before = _weights(module)
    best, _ = train(module, make_data(steps=4), tmp_path)
    moved = _moved(before, _weights(module))
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
    "plain": {},
    "gradual": {"train_from": {"decoder": 2, "encoder": 5}},
    "l2_sp": {"l2_sp": 0.5},
    "lora": {"adapters_only": True},
    "all at once": {"train_from": {"encoder": 3}, "layer_decay": 0.7, "l2_sp": 0.1},
    "frozen batch norms": {"train_from": {"encoder": 4}},
}
STOPS = [("plain", *stop) for stop in [(3, None, 2), (3, 1, 3), (5, 3, 4)]] + [("dropout", 5, 3, 4)]
STOPS += [(name, 5, None, 4) for name in STRATEGIES if name != "plain"]
STOPS += [("gradual", 3, None, 2), ("all at once", 3, None, 2)]  # before and at the step at which a part begins
MORE = [("plain", *stop) for stop in [(5, None, 4), (3, 3, 3), (6, 1, 6)]]
MORE += [(name, 3, None, 2) for name in ("dropout", "l2_sp", "lora", "frozen batch norms")]
STOPS += [pytest.param(*stop, marks=pytest.mark.slow) for stop in MORE]


@pytest.mark.parametrize(("name", "stopped_after", "checkpoint_every", "kept"), STOPS)
def test_a_stopped_run_ends_with_the_very_weights_of_an_uninterrupted_one(
    make, make_module, make_data, train, tmp_path, monkeypatch, name, stopped_after, checkpoint_every, kept
):
    def made() -> Any:
        torch.manual_seed(0)
        if name == "dropout":
            return make_module(steps=7, network=WithDropout())
        return make(7, STRATEGIES[name], "batch" if "batch" in name else "instance")

    whole = made()
    best, told = train(whole, make_data(steps=7), tmp_path / "whole")

    stopped = made()
    training_step = type(stopped).training_step

    def step(module: Any, batch: Any, batch_idx: int) -> Any:
        if module.global_step == stopped_after:
            raise Stop
        return training_step(module, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(type(stopped), "training_step", step)
        with pytest.raises(Stop):
            train(stopped, make_data(steps=7, checkpoint_every=checkpoint_every), tmp_path / "parts")
    assert (tmp_path / "parts" / "last.ckpt").is_file()

    resumed = made()
    torch.manual_seed(1)
    if name in ("plain", "dropout"):
        torch.nn.init.zeros_(resumed.network.head.weight)  # whatever it starts with is replaced
    best_resumed, told_resumed = train(resumed, make_data(steps=7), tmp_path / "parts")
    assert resumed.trainer.global_step == 7
    assert _same(_weights(whole), _weights(resumed))
    for metric in ("train/loss", "train/l2_sp", "val/dice"):
        assert told_resumed.of(metric) == [pair for pair in told.of(metric) if pair[0] > kept]
    assert load_model(best_resumed).digest == load_model(best).digest


def test_without_training_the_checkpoint_is_the_network_as_it_is(make, make_data, train, tmp_path):
    module = make(4, {})
    before = copy.deepcopy(_weights(module))
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
    assert set(values) == {f"val/{name}" for name in (*CASE_SCORES, "lesion_f1_one_to_one")}
    assert lines[0].startswith("not trained  validation sensitivity ")
    module.on_validation_epoch_start()
    module.network.eval()
    module.validation_step(make_data().validation[0], 0)
    assert values["val/dice"] == pytest.approx(module.cases[0]["dice"], nan_ok=True)

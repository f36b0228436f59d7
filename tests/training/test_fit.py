"""Training as a whole: the budget, what is kept of it, and going on after a stop."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lesionseg.errors import InputError
from lesionseg.training import Machine, NotFiniteError, check_machine, choose_precision, choose_strategy, rehearse
from lesionseg.transfer import ModelCard, load_model


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


def test_the_budget_is_used_to_its_last_step_and_validated_there(
    make_module: Any, make_data: Any, train: Any, tmp_path: Path
) -> None:
    module = make_module(steps=5)
    _, records = train(module, make_data(steps=5, validate_every=2), tmp_path)
    assert module.trainer.global_step == 5
    assert [step for step, _ in records.of("train/loss")] == [1, 2, 3, 4, 5]
    assert [step for step, _ in records.of("val/dice")] == [2, 4, 5]
    assert [line.split("  ")[0] for line in records.lines] == ["step 2/5", "step 4/5", "step 5/5"]
    assert records.lines[-1].startswith("step 5/5  loss ")
    assert records.lines[-1].endswith("  0:00:00 left")


def test_fewer_steps_than_a_validation_takes_are_validated_too(
    make_module: Any, make_data: Any, train: Any, tmp_path: Path
) -> None:
    best, records = train(make_module(steps=1), make_data(steps=1, validate_every=250), tmp_path)
    assert len(records.of("val/lesion_f1")) == 1
    assert best.is_file()


class WithDropout(nn.Module):
    """Draws from torch's own generator at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv3d(1, 1, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(nn.functional.dropout(image, 0.5, self.training))
        return logits


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize(
    ("stopped_after", "checkpoint_every", "kept"),
    [(3, None, 2), (5, None, 4), (3, 1, 3), (3, 3, 3), (5, 3, 4), (6, 1, 6)],
)
def test_a_stopped_run_ends_with_the_very_weights_of_an_uninterrupted_one(
    make_module: Any,
    make_data: Any,
    train: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stopped_after: int,
    checkpoint_every: int | None,
    kept: int,
    dropout: bool,
) -> None:
    def make() -> Any:
        torch.manual_seed(0)
        return make_module(steps=7, network=WithDropout() if dropout else None)

    whole = make()
    best, told = train(whole, make_data(steps=7), tmp_path / "whole")

    stopped = make()
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

    resumed = make()
    torch.manual_seed(1)
    torch.nn.init.zeros_(resumed.network.head.weight)  # whatever it starts with is replaced
    best_resumed, told_resumed = train(resumed, make_data(steps=7), tmp_path / "parts")
    assert resumed.trainer.global_step == 7
    assert _same(_weights(whole), _weights(resumed))
    for name in ("train/loss", "val/dice"):
        assert told_resumed.of(name) == [pair for pair in told.of(name) if pair[0] > kept]
    assert load_model(best_resumed).digest == load_model(best).digest


def test_a_run_that_goes_on_logs_at_the_steps_of_an_uninterrupted_one(
    make_module: Any, make_data: Any, train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data: Any = lambda: make_data(steps=12, validate_every=6, checkpoint_every=1)  # noqa: E731
    training_step = type(make_module()).training_step
    told: list[int] = []
    for stop in (2, 5, None):  # two interruptions

        def step(module: Any, batch: Any, batch_idx: int, stop: int | None = stop) -> Any:
            if module.global_step == stop:
                raise Stop
            return training_step(module, batch, batch_idx)

        monkeypatch.setattr(type(make_module()), "training_step", step)
        with pytest.raises(Stop) if stop else nullcontext():
            note: Any = lambda metrics, number: told.append(number) if "train/loss" in metrics else None  # noqa: E731
            train(make_module(steps=12), data(), tmp_path, log_every=3, log=note)
    assert told == [3, 6, 9, 12]


def test_a_run_stopped_at_its_very_end_trains_no_step_more(
    make_module: Any, make_data: Any, train: Any, tmp_path: Path
) -> None:
    first = make_module(steps=4)
    best, _ = train(first, make_data(steps=4), tmp_path)
    before = best.read_bytes()
    again = make_module(steps=4)
    same, records = train(again, make_data(steps=4), tmp_path)
    assert _same(_weights(first), _weights(again))
    assert records.of("train/loss") == []
    assert same.read_bytes() == before


@pytest.mark.parametrize("damage", ["cut short", "empty", "no checkpoint at all"])
def test_a_damaged_checkpoint_is_told_and_the_training_starts_again(
    make_module: Any, make_data: Any, train: Any, tmp_path: Path, damage: str
) -> None:
    whole = make_module(steps=2)
    train(whole, make_data(steps=2), tmp_path)
    last = tmp_path / "last.ckpt"
    content = {"cut short": last.read_bytes()[:-100], "empty": b"", "no checkpoint at all": b"text"}[damage]
    last.write_bytes(content)
    again = make_module(steps=2)
    _, records = train(again, make_data(steps=2), tmp_path)
    assert records.lines[0] == f"{last} is damaged: the training starts again from its first step"
    assert [step for step, _ in records.of("train/loss")] == [1, 2]
    assert _same(_weights(whole), _weights(again))
    assert torch.load(last, weights_only=True)["global_step"] == 2


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
    make_module: Any,
    make_data: Any,
    train: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scores: list[float],
    kept_step: int,
    told: bool,
) -> None:
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


def test_the_best_checkpoint_is_weights_and_card_alone(
    make_module: Any, make_data: Any, train: Any, tmp_path: Path, card: ModelCard
) -> None:
    best, _ = train(make_module(steps=2), make_data(steps=2), tmp_path)
    assert best == tmp_path / "best.ckpt"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]
    content = torch.load(best, weights_only=True)
    assert "optimizer_states" not in content
    source = load_model(best)
    assert source.card == card
    network = source.network()
    assert not network.training
    assert network(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 1, 16, 16, 16)


def test_a_rate_out_of_all_bounds_ends_with_step_and_studies(
    make_module: Any, make_data: Any, train: Any, tmp_path: Path
) -> None:
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
    make_module: Any, make_data: Any, train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


@pytest.mark.parametrize(
    ("wanted", "devices", "chosen"),
    [
        ("auto", 1, "auto"),
        ("auto", [1], "auto"),
        ("auto", 2, "ddp_spawn"),
        ("auto", -1, "ddp_spawn"),
        ("ddp_fork", 2, "ddp_fork"),
    ],
)
def test_several_devices_get_processes_of_their_own(wanted: str, devices: Any, chosen: str) -> None:
    assert choose_strategy(wanted, devices) == chosen


def test_the_same_run_twice_is_the_same(make_module: Any, make_data: Any, train: Any, tmp_path: Path) -> None:
    modules = [make_module(steps=2), make_module(steps=2)]
    for number, module in enumerate(modules):
        train(module, make_data(steps=2), tmp_path / str(number))
    assert _same(_weights(modules[0]), _weights(modules[1]))


@pytest.mark.parametrize(("steps", "late"), [(1, 1), (4, 1), (5, 2)])
def test_a_rehearsal_is_the_training_and_leaves_nothing(
    make_module: Any,
    make_data: Any,
    train: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
    late: int,
) -> None:
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


def test_a_rehearsal_with_a_rate_out_of_all_bounds_is_told(make_module: Any, make_data: Any) -> None:
    module = make_module(learning_rate=1e30, warmup_steps=0)
    with pytest.raises(NotFiniteError):
        rehearse(
            module,
            make_data(),
            machine=Machine("cpu", precision="32-true"),
            monitor="val/dice",
            gradient_clip=1.0,
        )


def test_precision_is_as_wanted_or_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_precision("16-mixed", "cpu") == "16-mixed"
    for available, chosen in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda have=available: have)
        assert choose_precision("auto", "cpu") == chosen
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for available, chosen in ((True, "bf16-mixed"), (False, "16-mixed")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda have=available: have)
        assert choose_precision("auto", "auto") == chosen


def test_a_machine_that_is_not_there_is_told() -> None:
    with pytest.raises(InputError) as caught:
        check_machine(Machine("tpu", 1, "auto", "32-true"))
    assert str(caught.value).startswith(
        "trainer.accelerator=tpu, devices=1, strategy=auto, precision=32-true: Lightning cannot train so here ("
    )
    assert str(caught.value).endswith("); auto, 1, auto, auto works everywhere")
    with pytest.raises(InputError, match=r"trainer.accelerator=nope, .* \(.*nope.*\); auto"):
        check_machine(Machine("nope"))

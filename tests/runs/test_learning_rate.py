"""The learning rate chosen on validation: by which rule, from what, and that nothing else changes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lesionseg.config.schema import TrainConfig
from lesionseg.errors import InputError
from lesionseg.runs import learning_rate as story
from lesionseg.runs import work as work_module
from lesionseg.runs.learning_rate import Candidate, best_candidate, choose_learning_rate, with_learning_rate
from lesionseg.runs.plan import run_seed, store_of
from lesionseg.runs.planned import plan_run
from lesionseg.runs.train import train
from lesionseg.training import NotFiniteError, Rehearsal
from lesionseg.weights import load_model

NAN = float("nan")
TWO = ("optim.learning_rates=[0.01,0.03]", "optim.search_steps=2", "metrics.monitor=val/dice")
Configure = Callable[..., TrainConfig]


@pytest.fixture(scope="module")
def folder(with_store: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs that the tests of this file share."""
    outputs: Path = with_store(tmp_path_factory.mktemp("rates"))
    return outputs


@pytest.fixture
def make(configure: Configure, folder: Path) -> Configure:
    own = (f"paths.outputs={folder}", "trainer.steps=3", "metrics.save_predictions=false")
    return lambda *overrides: configure(*own, *overrides)


def _prepared(config: TrainConfig) -> tuple[Any, Any, Any, Any]:
    """Network, card, report and studies of a run."""
    this = plan_run(config, store_of(config.tracking, config.paths), "")
    return this.network, this.card, this.report, this.studies


@pytest.mark.parametrize(
    ("candidates", "chosen"),
    [
        ([(0.1, 0.2, 0.5), (0.2, 0.3, 0.9), (0.3, 0.1, 0.1)], 0.2),
        ([(0.1, 0.3, 0.5), (0.2, 0.3, 0.4), (0.3, 0.1, 0.1)], 0.2),
        ([(0.3, 0.3, 0.5), (0.1, 0.3, 0.5), (0.2, 0.3, 0.5)], 0.1),
        ([(0.1, 0.0, 0.5), (0.2, 0.0, 0.4)], 0.2),
        ([(0.1, NAN, 0.5), (0.2, 0.0, 0.4), (0.3, NAN, 0.3)], 0.3),
        ([(0.1, NAN, 0.1), (0.2, 0.01, 0.9)], 0.2),
        ([(0.1, NAN, NAN), (0.2, 0.0, 0.9)], 0.2),
        ([(0.1, NAN, NAN), (0.2, NAN, 0.9)], 0.2),
    ],
    ids=["score", "loss", "rate", "all zero", "zero or undefined", "above zero", "broke off", "broke off or undefined"],
)
def test_the_highest_score_then_the_lowest_loss_then_the_smallest_rate_is_chosen(
    candidates: list[tuple[float, float, float]], chosen: float
) -> None:
    assert best_candidate([Candidate(*one) for one in candidates]).learning_rate == chosen


def test_where_every_candidate_broke_off_none_is_chosen() -> None:
    with pytest.raises(NotFiniteError) as caught:
        best_candidate([Candidate(1e30, NAN, NAN), Candidate(0.5, NAN, NAN)])
    assert str(caught.value) == (
        "the loss became NaN or infinite with each of optim.learning_rates=[1e+30, 0.5]; give lower ones, set "
        "trainer.precision=32-true, or look at the studies with lesionseg check"
    )


def test_a_search_is_no_longer_than_the_training(make: Configure) -> None:
    with pytest.raises(InputError) as caught:
        make("optim.learning_rates=[0.01,0.03]")
    assert caught.value.faults == (
        "optim.search_steps=100: each of optim.learning_rates would be tried for longer than is trained with the "
        "chosen one, trainer.steps=3; give fewer",
    )
    assert make("optim.learning_rates=[0.01,0.03]", "optim.search_steps=3").candidate_rates == (0.01, 0.03)
    assert make("optim.search_steps=4").candidate_rates == ()


def test_the_run_trains_as_with_the_chosen_rate_alone_and_tells_what_it_chose(
    make: Configure, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = train(make("optim.learning_rate=0.03", "metrics.monitor=val/dice"))
    capsys.readouterr()
    used: list[tuple[float, int, int]] = []
    fit = work_module.fit

    def watched(module: Any, data: Any, **named: Any) -> Path:
        used.append((module.optimiser.learning_rate, module.optimiser.steps, data.steps))
        return fit(module, data, **named)

    trials = story.rehearse
    scores = iter([0.25, 0.5])

    def scored(*arguments: Any, **named: Any) -> Rehearsal:
        return Rehearsal(next(scores), trials(*arguments, **named).loss)

    monkeypatch.setattr(work_module, "fit", watched)
    monkeypatch.setattr(story, "rehearse", scored)
    config = make(*TWO)
    result = train(config)
    assert result.status == "finished"
    assert used == [(0.03, 3, 3)]
    assert result.checkpoint is not None
    assert alone.checkpoint is not None
    assert load_model(result.checkpoint).digest == load_model(alone.checkpoint).digest

    record = json.loads((result.folder / "learning_rate.json").read_text())
    losses = [one.pop("loss") for one in record["candidates"]]
    assert all(0 < loss < 2 for loss in losses)
    assert losses[0] != losses[1]
    assert record == {
        "chosen": 0.03,
        "candidates": [{"learning_rate": 0.01, "score": 0.25}, {"learning_rate": 0.03, "score": 0.5}],
        "steps": 2,
        "monitor": "val/dice",
    }
    lines = [line for line in capsys.readouterr().out.splitlines() if "learning rate" in line]
    assert lines == [
        "flair_lesions scratch n=2 repeat=0  learning rate 0.03, chosen on 2 validation studies from 0.01 (0.25), 0.03 "
        "(0.50)"
    ]
    client = store_of(config.tracking, config.paths).client
    run = client.get_run(result.run_id)
    assert run.data.params["learning_rate"] == "[0.01, 0.03]"
    assert run.data.metrics["train/learning_rate"] == 0.03
    assert "learning_rate.json" in {entry.path for entry in client.list_artifacts(result.run_id)}
    for name, count in (("train/loss", 3), ("val/dice", 2)):
        assert len(client.get_metric_history(result.run_id, name)) == count, "the search draws no curve"
    assert sorted(path.name for path in (result.folder / "checkpoints").iterdir()) == ["best.ckpt"]


def test_a_run_that_goes_on_searches_once_and_ends_as_if_it_had_not_been_stopped(
    make: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def halt(*_: Any, **__: Any) -> Any:
        raise SystemExit(143)

    whole = train(make(*TWO, "optim.search_steps=1"))
    tried: list[float] = []
    rehearse = story.rehearse

    def counted(module: Any, data: Any, **named: Any) -> Rehearsal:
        tried.append(module.optimiser.learning_rate)
        if len(tried) == 2:
            halt()
        return rehearse(module, data, **named)

    monkeypatch.setattr(story, "rehearse", counted)
    config = make(*TWO, "optim.search_steps=1", "force=true")
    with pytest.raises(SystemExit):  # in the midst of the search
        train(config)
    assert not (whole.folder / "learning_rate.json").exists()
    with monkeypatch.context() as patched:  # and then just after it
        patched.setattr(work_module, "fit", halt)
        with pytest.raises(SystemExit):
            train(config)
    assert tried == [0.01, 0.03, 0.01, 0.03]
    record = (whole.folder / "learning_rate.json").read_text()

    store = store_of(config.tracking, config.paths)
    store.client.delete_run(whole.run_id)  # a finished one would be taken for the last word
    result = train(make(*TWO, "optim.search_steps=1"))
    assert (result.status, result.folder) == ("finished", whole.folder)
    assert len(tried) == 4
    assert (result.folder / "learning_rate.json").read_text() == record
    assert result.checkpoint is not None
    again = load_model(result.checkpoint).digest
    forced = train(make(*TWO, "optim.search_steps=1", "force=true"))
    assert len(tried) == 6, "what is to be run again is searched again"
    assert forced.checkpoint is not None
    assert load_model(forced.checkpoint).digest == again


def test_each_candidate_is_the_run_in_small_and_leaves_the_first_weights_alone(
    make: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = train(make())
    config = make(
        *TWO,
        "init=lora",
        f"init.checkpoint={source.checkpoint}",
        "init.train_from.decoder=0.5",
        "optim.warmup_steps=5",
        "trainer.steps=8",
    )
    network, card, report, studies = _prepared(config)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modules: list[Any] = []
    rehearse = story.rehearse

    def watched(module: Any, data: Any, **named: Any) -> Rehearsal:
        first = module.network.state_dict()
        assert all(torch.equal(first[name], value) for name, value in before.items())
        assert (data.steps, data.validate_every, data.seed) == (2, 2, run_seed(config))
        assert torch.initial_seed() == run_seed(config)
        end = rehearse(module, data, **named)
        modules.append(module)
        return end

    monkeypatch.setattr(story, "rehearse", watched)
    choose_learning_rate(config, network, card, report, studies, tmp_path / "record.json")
    after = network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert [module.optimiser.learning_rate for module in modules] == [0.01, 0.03]
    for module in modules:
        assert (module.optimiser.steps, module.optimiser.warmup_steps) == (2, 2)
        starts = {name.partition(".")[0]: one.first_step for name, one in module.regimes.items() if one.first_step}
        assert starts == {"decoder": 1}, "half of the search, as it is half of the run"
        state = module.network.state_dict()
        assert any(not torch.equal(state[name], value) for name, value in before.items())


def test_a_rate_out_of_all_bounds_loses_and_where_all_are_the_run_fails(make: Configure) -> None:
    huge = ("optim.search_steps=2", "optim.learning_rates=[1e30,0.01]")
    result = train(make(*huge))
    assert result.status == "finished"
    record = json.loads((result.folder / "learning_rate.json").read_text())
    assert record["chosen"] == 0.01
    assert record["candidates"][0] == {"learning_rate": 1e30, "score": None, "loss": None}

    failed = train(make("optim.search_steps=2", "optim.learning_rates=[1e30,2e30]"))
    assert failed.status == "failed"
    assert (
        "the loss became NaN or infinite with each of optim.learning_rates=[1e+30, 2e+30]; give lower ones"
        in (failed.folder / "error.txt").read_text()
    )
    assert not (failed.folder / "learning_rate.json").exists()


def test_what_was_recorded_is_read_back_unless_another_search_wrote_it(
    make: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, record = make(*TWO), tmp_path / "learning_rate.json"
    tried: list[TrainConfig] = []

    def attempt(small: TrainConfig, *_: Any) -> Candidate:
        tried.append(small)
        finite = small.optim.learning_rate != 0.01
        return Candidate(small.optim.learning_rate, 0.5 if finite else NAN, 0.7 if finite else NAN)

    monkeypatch.setattr(story, "_try", attempt)
    nothing: Any = None

    def choose(other: TrainConfig) -> story.LearningRateChoice:
        return choose_learning_rate(other, nothing, nothing, nothing, nothing, record)

    first = choose(config)
    content = record.read_text()
    assert (first.learning_rate, first.in_words()) == (0.03, "0.01 (not finite), 0.03 (0.50)")
    again = choose(config)
    assert (again.in_words(), record.read_text(), len(tried)) == (first.in_words(), content, 2)
    others = ("optim.learning_rates=[0.03,0.01]", "optim.search_steps=3", "metrics.monitor=val/lesion_f1")
    for number, override in enumerate(others, start=2):
        record.write_text(content)
        choose(make(*TWO, override))
        assert len(tried) == 2 * number, override


def test_a_run_that_trains_not_a_step_searches_nothing(make: Configure) -> None:
    source = train(make())
    config = make(*TWO, "init=zero_shot", f"init.checkpoint={source.checkpoint}")
    result = train(config)
    assert result.status == "finished"
    assert not (result.folder / "learning_rate.json").exists()
    run = store_of(config.tracking, config.paths).client.get_run(result.run_id)
    assert "train/learning_rate" not in run.data.metrics


def test_the_configuration_to_train_with_has_one_rate(make: Configure) -> None:
    config = with_learning_rate(make(*TWO), 0.03)
    assert (config.optim.learning_rate, config.candidate_rates) == (0.03, ())
    assert config.trainer == make(*TWO).trainer

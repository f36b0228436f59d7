"""The learning rate chosen on validation: by which rule, from what, and that nothing else changes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lesionseg.commands import selection
from lesionseg.commands import selection as story
from lesionseg.commands import train as work_module
from lesionseg.commands.initialise import initialise, model_card
from lesionseg.commands.plan import store_of
from lesionseg.commands.preflight import preflight
from lesionseg.commands.scoring import Segmentation, reference_of
from lesionseg.commands.selection import Candidate, best_candidate
from lesionseg.commands.train import TrainResult
from lesionseg.config.schema import TrainConfig
from lesionseg.data.cache import CachedStudy
from lesionseg.errors import InputError
from lesionseg.training.module import NotFiniteError
from lesionseg.transfer.checkpoint import METADATA_KEY, load_model

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


def train(config: TrainConfig) -> TrainResult:
    """Train one configuration, checked as the command does."""
    (spec,) = preflight([config])
    return work_module.train(spec)


def _folder(result: TrainResult) -> Path:
    assert result.checkpoint is not None
    return result.checkpoint.parents[1]


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
def test_the_highest_score_then_the_lowest_loss_then_the_smallest_rate_is_chosen(candidates, chosen):
    assert best_candidate([Candidate(*one) for one in candidates]).learning_rate == chosen


def test_where_every_candidate_broke_off_none_is_chosen():
    with pytest.raises(NotFiniteError) as caught:
        best_candidate([Candidate(1e30, NAN, NAN), Candidate(0.5, NAN, NAN)])
    assert str(caught.value) == (
        "the loss became NaN or infinite with each of optim.learning_rates=[1e+30, 0.5]; give lower ones, set "
        "trainer.precision=32-true, or look at the studies with lesionseg check"
    )


def test_a_search_is_no_longer_than_the_training(make):
    with pytest.raises(InputError) as caught:
        make("optim.learning_rates=[0.01,0.03]")
    assert caught.value.faults == (
        "optim.search_steps=100: each of optim.learning_rates would be tried for longer than is trained with the "
        "chosen one, trainer.steps=3; give fewer",
    )
    assert make("optim.learning_rates=[0.01,0.03]", "optim.search_steps=3").candidate_rates == (0.01, 0.03)
    assert make("optim.search_steps=4").candidate_rates == ()


def test_the_run_trains_as_with_the_chosen_rate_alone_and_tells_what_it_chose(make, monkeypatch, capsys):
    alone = train(make("optim.learning_rate=0.03", "metrics.monitor=val/dice"))
    capsys.readouterr()
    used: list[tuple[float, int, int]] = []
    fit = work_module.fit

    def watched(module: Any, data: Any, **named: Any) -> Path:
        used.append((module.optimiser.learning_rate, module.optimiser.steps, data.steps))
        return fit(module, data, **named)

    trials = story.rehearse
    scores = iter([0.25, 0.5])

    def scored(*arguments: Any, **named: Any) -> tuple[float, float]:
        return next(scores), trials(*arguments, **named)[1]

    monkeypatch.setattr(work_module, "fit", watched)
    monkeypatch.setattr(story, "rehearse", scored)
    config = make(*TWO)
    result = train(config)
    assert result.status == "finished"
    assert used == [(0.03, 3, 3)]
    assert result.checkpoint is not None
    assert alone.checkpoint is not None
    assert load_model(result.checkpoint).digest == load_model(alone.checkpoint).digest

    record = json.loads((_folder(result) / "learning_rate.json").read_text())
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
    assert sorted(path.name for path in (_folder(result) / "checkpoints").iterdir()) == ["best.ckpt"]


@pytest.mark.slow
def test_a_run_that_goes_on_searches_once_and_ends_as_if_it_had_not_been_stopped(make, monkeypatch):
    def halt(*_: Any, **__: Any) -> Any:
        raise SystemExit(143)

    whole = train(make(*TWO, "optim.search_steps=1"))
    tried: list[float] = []
    rehearse = story.rehearse

    def counted(module: Any, data: Any, **named: Any) -> tuple[float, float]:
        tried.append(module.optimiser.learning_rate)
        if len(tried) == 2:
            halt()
        return rehearse(module, data, **named)

    monkeypatch.setattr(story, "rehearse", counted)
    config = make(*TWO, "optim.search_steps=1", "force=true")
    with pytest.raises(SystemExit):  # in the midst of the search
        train(config)
    assert not (_folder(whole) / "learning_rate.json").exists()
    with monkeypatch.context() as patched:  # and then just after it
        patched.setattr(work_module, "fit", halt)
        with pytest.raises(SystemExit):
            train(config)
    assert tried == [0.01, 0.03, 0.01, 0.03]
    record = (_folder(whole) / "learning_rate.json").read_text()

    store = store_of(config.tracking, config.paths)
    store.client.delete_run(whole.run_id)  # a finished one would be taken for the last word
    result = train(make(*TWO, "optim.search_steps=1"))
    assert (result.status, _folder(result)) == ("finished", _folder(whole))
    assert len(tried) == 4
    assert (_folder(result) / "learning_rate.json").read_text() == record
    assert result.checkpoint is not None
    again = load_model(result.checkpoint).digest
    forced = train(make(*TWO, "optim.search_steps=1", "force=true"))
    assert len(tried) == 6, "what is to be run again is searched again"
    assert forced.checkpoint is not None
    assert load_model(forced.checkpoint).digest == again


@pytest.fixture
def chosen(configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Chooses for a model that gives 0.7 in the middle of each lesion, 0.4 in the rest of it and 0.3 beside it."""

    def segment(network: Any, card: Any, studies: list[CachedStudy], *_: Any, **__: Any) -> Any:
        for study in studies:
            reference, _grid = reference_of(study)
            inner = reference.astype(bool)
            for axis in range(3):
                inner = inner & (reference.take(range(1, 33), axis, mode="clip") > 0)
                inner = inner & (reference.take(range(-1, 31), axis, mode="clip") > 0)
            probability = 0.4 * reference + 0.3 * inner
            probability[2:6, 2:6, 2:6] = 0.3
            yield Segmentation(study, probability, reference)

    monkeypatch.setattr(selection, "segment", segment)

    def choose(*overrides: str) -> dict[str, Any]:
        config = configure(*overrides)
        (spec,) = preflight([config])
        network, _ = initialise(config, model_card(config, []), 3, None)
        weights = {f"network.{name}": value for name, value in network.state_dict().items()}
        checkpoint = tmp_path / "best.ckpt"
        torch.save({"state_dict": weights, METADATA_KEY: model_card(config, []).to_dict()}, checkpoint)
        selection.set_threshold(spec, checkpoint, tmp_path / "threshold.json")
        record = json.loads((tmp_path / "threshold.json").read_text())
        assert load_model(checkpoint).card.threshold == record["threshold"]
        return record

    return choose


def test_the_tasks_own_criterion_decides_unless_another_is_named(chosen):
    own = chosen("metrics.threshold_criterion=task", "metrics.thresholds=[0.25,0.4,0.7]", "task.min_lesion_volume=0")
    low, *others = (entry["lesion_f1"] for entry in own["mean_lesion_f1"])
    assert others == [1.0, 1.0]
    assert 0.5 < low < 1, "at 0.25 every study has one false lesion"
    assert own["threshold"] == 0.4, "0.4 is nearer to 0.5 than 0.7"
    assert own["criterion"] == {"name": "task", "_target_": "lesionseg.metrics.AnyOverlap"}
    other = chosen("metrics.thresholds=[0.25,0.4,0.7]", "metrics.threshold_criterion=iou_0.5", "metrics.threshold=0.9")
    assert other["threshold"] == 0.4, "at 0.7 only the middle of a lesion is left"
    assert other["criterion"] == {"name": "iou_0.5", "_target_": "lesionseg.metrics.BestIoU", "min_iou": 0.5}
    assert other["mean_lesion_f1"][2]["lesion_f1"] == 0


def test_where_no_threshold_finds_anything_the_configured_one_stays(chosen):
    record = chosen("metrics.threshold_criterion=task", "metrics.thresholds=[0.8,0.9]", "metrics.threshold=0.45")
    assert (record["threshold"], record["n_studies_defined"]) == (0.45, 0)

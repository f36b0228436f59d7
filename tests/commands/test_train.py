"""One training run: what is skipped, what goes on, and what a failure leaves."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lesionseg.commands import train as work_module
from lesionseg.commands.plan import store_of
from lesionseg.commands.preflight import preflight
from lesionseg.commands.train import TrainResult
from lesionseg.config import conf_dir
from lesionseg.config.schema import TrainConfig
from lesionseg.transfer.checkpoint import load_model

Configure = Callable[..., TrainConfig]


@pytest.fixture(scope="module")
def folder(with_store: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs that the tests of this file share."""
    outputs: Path = with_store(tmp_path_factory.mktemp("train"))
    return outputs


@pytest.fixture
def make(configure: Configure, folder: Path) -> Configure:
    return lambda *overrides: configure(f"paths.outputs={folder}", "trainer.steps=2", *overrides)


def train(config: TrainConfig, **named: Any) -> TrainResult:
    """Train one configuration, checked as the command does."""
    (spec,) = preflight([config])
    return work_module.train(spec, **named)


def _folder(result: TrainResult) -> Path:
    assert result.checkpoint is not None
    return result.checkpoint.parents[1]


def _run(result: TrainResult, config: TrainConfig) -> Any:
    return store_of(config.tracking, config.paths).client.get_run(result.run_id)


def test_a_finished_run_is_not_run_again_unless_forced(make, capsys):
    config = make()
    first = train(config, position="[1/2]")
    assert (first.status, _run(first, config).info.status) == ("finished", "FINISHED")
    assert first.checkpoint is not None
    assert first.checkpoint.name == "best.ckpt"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[1/2] flair_lesions scratch n=2 repeat=0  weights: all fresh (from scratch)"
    assert lines[-2].startswith("[1/2] flair_lesions scratch n=2 repeat=0  test sensitivity ")
    assert lines[-2].endswith(" (3 studies with lesions)")
    assert lines[-1] == f"Its files are in {_folder(first)}, and in MLflow as run {first.run_id}."

    second = train(config)
    assert second == TrainResult("skipped", first.run_id, first.checkpoint)
    assert capsys.readouterr().out == (
        f"flair_lesions scratch n=2 repeat=0  is finished already (run {first.run_id}); force=true runs it again\n"
    )
    forced = train(make("force=true"))
    assert forced.status == "finished"
    assert forced.run_id != first.run_id


def test_a_failed_run_says_why_and_goes_on_in_the_same_mlflow_run(make, monkeypatch, capsys):
    config = make("repeat=1")
    with monkeypatch.context() as patched:
        patched.setattr(work_module, "segment", lambda *_, **__: 1 / 0)
        failed = train(config)
    assert (failed.status, failed.checkpoint) == ("failed", None)
    assert _run(failed, config).info.status == "FAILED"
    assert "flair_lesions scratch n=2 repeat=1  FAILED\nTraceback " in capsys.readouterr().out
    again = train(config)
    assert (again.status, again.run_id) == ("finished", failed.run_id)
    out = capsys.readouterr().out
    assert f"  was interrupted before and goes on (run {failed.run_id})\n" in out
    assert "  step " not in out, "all steps were done before"
    assert _run(again, config).info.status == "FINISHED"


def test_a_run_cut_off_before_it_had_anything_is_whole_in_the_end(make, monkeypatch):
    config = make("seed=1")

    def stop(*_: Any, **__: Any) -> None:
        raise SystemExit(143)

    with monkeypatch.context() as patched:
        patched.setattr("lesionseg.commands.train.initialise", stop)
        with pytest.raises(SystemExit):
            train(config)
    result = train(config)
    run = _run(result, config)
    assert run.data.params["train_size"] == "2"
    artifacts = {entry.path for entry in store_of(config.tracking, config.paths).client.list_artifacts(result.run_id)}
    assert artifacts >= {"config.yaml", "split.json", "transfer_report.json", "cases.csv", "lesions.csv"}


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit])
def test_a_stopped_run_is_killed(make, monkeypatch, signal):
    config = make(f"seed={2 if signal is SystemExit else 3}")

    def stop(*_: Any, **__: Any) -> None:
        raise signal

    monkeypatch.setattr(work_module, "fit", stop)
    with pytest.raises(signal):
        train(config)
    store = store_of(config.tracking, config.paths)
    (run, *_) = store.client.search_runs([store.experiment_id], order_by=["attributes.start_time DESC"])
    assert run.info.status == "KILLED"


STRATEGIES = sorted({path.stem for path in (conf_dir() / "init").glob("[!_]*.yaml")} - {"threshold"})
QUICK = ("gradual_unfreeze", "lora")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in STRATEGIES]
)
def test_every_strategy_trains_a_step_and_leaves_a_plain_network(make, name):
    source = train(make())
    result = train(make(f"init={name}", f"init.checkpoint={source.checkpoint}", "trainer.steps=1", "seed=3"))
    assert result.status == "finished"
    assert result.checkpoint is not None
    assert source.checkpoint is not None
    before, after = load_model(source.checkpoint), load_model(result.checkpoint)
    assert after.card.init == name
    assert {key: value.shape for key, value in after.weights.items()} == {
        key: value.shape for key, value in before.weights.items()
    }
    assert (after.digest == before.digest) == (name == "zero_shot")
    report = json.loads((_folder(result) / "transfer_report.json").read_text())
    assert (report["source_digest"] == before.digest) == (name != "scratch")
    assert (report["trained"] == 0) == (name == "zero_shot")


def test_zero_shot_scores_the_source_as_it_is(make):
    config = make()
    source = train(config)
    result = train(make("init=zero_shot", f"init.checkpoint={source.checkpoint}", "trainer.steps=7"))
    cases = [pd.read_csv(_folder(one) / "cases.csv") for one in (source, result)]
    pd.testing.assert_frame_equal(*cases)
    run, own = _run(result, config), _run(source, config)
    assert (run.data.params["steps"], run.data.params["init"]) == ("0", "zero_shot")
    for name, value in run.data.metrics.items():
        if name.startswith("test/"):
            assert value == pytest.approx(own.data.metrics[name], nan_ok=True)
    assert set(run.data.metrics) == set(own.data.metrics) - {"train/loss", "train/lr", "train/seconds_per_step"}
    store = store_of(config.tracking, config.paths)
    assert [point.step for point in store.client.get_metric_history(result.run_id, "val/dice")] == [0]
    again = train(make("init=zero_shot", f"init.checkpoint={source.checkpoint}", "trainer.steps=7"))
    assert again.status == "skipped"


def test_predictions_are_kept_only_if_asked(make):
    kept, dropped = train(make()), train(make("metrics.save_predictions=false"))
    assert len(list((_folder(kept) / "predictions").iterdir())) == 3
    assert not (_folder(dropped) / "predictions").exists()


def test_no_learning_chooses_two_numbers_and_is_scored_like_any_run(make, capsys):
    config = make("init=threshold")
    result = train(config)
    assert result.status == "finished"
    model = load_model(result.checkpoint)
    assert model.card.network == {"_target_": "lesionseg.models.IntensityThreshold"}
    assert set(model.weights) == {"threshold", "margin"}
    assert "no network: threshold " in capsys.readouterr().out
    assert _run(result, config).data.params["steps"] == "0"
    cases = pd.read_csv(_folder(result) / "cases.csv")
    assert cases["lesion_sensitivity"].mean() > 0.9, "the cubes of the tiny cohort are far brighter than its brain"

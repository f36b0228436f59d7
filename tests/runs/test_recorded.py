"""What finished runs left of themselves, read back from a real store."""

import json
from collections.abc import Callable, Mapping
from math import isnan
from pathlib import Path
from typing import Any

import pytest
import yaml

from lesionseg.config.schema import TrainConfig
from lesionseg.errors import InputError
from lesionseg.report import RateSearch, RecordedRun, WeightSource
from lesionseg.runs.recorded import cases_of, files_of, read_record, recorded_run, table_of
from lesionseg.tracking import Store, open_store, start_run

SCRATCH = {"source": "", "source_task": "", "source_digest": "", "loaded_share": 0.0, "strategy": {}}
PRETRAINED = {
    "source": "/cache/models/runs-4f2a/best.ckpt",
    "source_task": "flair_lesions",
    "source_digest": "1a2b",
    "loaded_share": 0.9,
    "strategy": {"layer_decay": 0.8},
}


@pytest.fixture
def store(with_store: Any, tmp_path: Path) -> Store:
    folder = with_store(tmp_path / "outputs")
    return open_store(f"sqlite:///{folder}/mlflow.db", "exp", str(folder / "artifacts"), folder / ".lock")


def recorded(store: Store, run: Any) -> RecordedRun:
    files = files_of(store, run)
    return recorded_run(files, read_record(files))


@pytest.fixture
def finished(store: Store, tmp_path: Path) -> Callable[..., Any]:
    """A run with these artifacts, as MLflow's entity."""

    def make(config: Mapping[str, Any] | None, report: Mapping[str, Any], **further: str) -> Any:
        run = start_run(store, "run", params={"init": "mine", "train_size": 4, "repeat": 1}, tags={})
        files = {"split.json": json.dumps({"sha256": "abc"}), "transfer_report.json": json.dumps(report), **further}
        if config is not None:
            files["config.yaml"] = yaml.safe_dump(dict(config))
        for name, text in files.items():
            file = tmp_path / name
            file.write_text(text)
            run.log_file(file)
        return store.client.get_run(run.run_id)

    return make


def test_a_run_from_scratch(store: Store, finished: Any, configure: Callable[..., TrainConfig]) -> None:
    found = recorded(store, finished(configure("train_size=4", "repeat=1").model_dump(), SCRATCH))
    assert (found.arm, found.train_size, found.repeat, found.subjects) == ("mine", 4, 1, "abc")
    assert (found.source, found.init, found.search, found.learning_rate) == (None, {}, None, 0.01)
    assert (found.monitor, found.best_validation) == ("val/lesion_f1", None)
    assert found.settings["trainer.steps"] == 4
    assert found.settings["model.network.widths"] == [4, 8]
    absent = {"train_size", "repeat", "init.name", "trainer.threads", "paths.outputs", "metrics.save_predictions"}
    assert absent.isdisjoint(found.settings)


def test_the_score_that_was_watched_is_the_runs_own(
    store: Store, finished: Any, configure: Callable[..., TrainConfig]
) -> None:
    files = files_of(store, finished(configure("metrics.monitor=val/dice").model_dump(), SCRATCH))
    found = recorded_run(files, read_record(files), 0.25)
    assert (found.monitor, found.best_validation) == ("val/dice", 0.25)


def test_the_small_files_of_a_run(store: Store, finished: Any, configure: Callable[..., TrainConfig]) -> None:
    tensors = [{"name": "a", "count": 30}, {"name": "b", "count": 10}]
    report = {**SCRATCH, "trained": 10, "parameters": tensors}
    config = configure().model_dump()
    plain = read_record(files_of(store, finished(config, report)))
    assert (plain.n_values, plain.trained_share, plain.search, plain.threshold) == (40, 0.25, None, 0.5)
    assert "parameters" not in plain.report, "a list as long as the network has tensors"
    chosen = {"threshold.json": json.dumps({"threshold": 0.35})}
    assert read_record(files_of(store, finished(config, {**report, "trained": None}, **chosen))).threshold == 0.35
    nobody = read_record(files_of(store, finished(config, SCRATCH)))
    assert (nobody.n_values, isnan(nobody.trained_share)) == (0, True)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("runs:/4f2a", "runs:/4f2a"),
        ("models:/stroke/3", "models:/stroke/3"),
        (
            "/home/somebody/outputs/runs/flair/scratch-n3-r0-98/checkpoints/best.ckpt",
            "scratch-n3-r0-98/best.ckpt",
        ),
        ("fold_0/checkpoint_final.pth", "fold_0/checkpoint_final.pth"),
        ("weights.pt", "weights.pt"),
    ],
)
def test_a_run_from_a_source(
    store: Store, finished: Any, configure: Callable[..., TrainConfig], asked: str, name: str
) -> None:
    config = configure("init=pretrained", f"init.checkpoint={asked}", "init.layer_decay=0.8").model_dump()
    found = recorded(store, finished(config, PRETRAINED))
    assert found.source == WeightSource(name, "flair_lesions", "1a2b", 0.9)
    assert found.init == {"layer_decay": 0.8}


def test_a_run_whose_learning_rate_was_searched_for(
    store: Store, finished: Any, configure: Callable[..., TrainConfig]
) -> None:
    scores = [{"learning_rate": 0.001, "score": 0.21}, {"learning_rate": 0.003, "score": None}]
    record = {"chosen": 0.001, "candidates": scores, "steps": 100, "monitor": "val/dice"}
    found = recorded(store, finished(configure().model_dump(), SCRATCH, **{"learning_rate.json": json.dumps(record)}))
    assert found.search == RateSearch(0.001, (0.001, 0.003), 100)


def test_a_run_that_trains_nothing_has_no_learning_rate(
    store: Store, finished: Any, configure: Callable[..., TrainConfig]
) -> None:
    config = configure("init=zero_shot", "init.checkpoint=a.ckpt").model_dump()
    assert recorded(store, finished(config, PRETRAINED)).learning_rate is None


def test_a_run_of_an_older_version_lacks_keys(
    store: Store, finished: Any, configure: Callable[..., TrainConfig]
) -> None:
    config = configure().model_dump()
    config["init"] = {"name": "scratch", "strategy": "scratch", "checkpoint": None}
    for key in ("learning_rates", "search_steps"):
        config["optim"].pop(key, None)
    found = recorded(store, finished(config, {key: SCRATCH[key] for key in SCRATCH if key != "strategy"}))
    assert (found.learning_rate, found.search, found.init) == (0.01, None, {})


def test_a_finished_run_that_lost_its_files_is_told(store: Store, finished: Any) -> None:
    run = finished(None, SCRATCH)
    with pytest.raises(InputError, match=f"run {run.info.run_id} \\(run\\) is finished but has no config.yaml"):
        recorded(store, run)
    with pytest.raises(InputError, match=r"is finished but has no cases\.csv"):
        cases_of(files_of(store, run))


def test_cases_have_their_place_in_the_grid_and_names_stay_text(store: Store, finished: Any) -> None:
    run = finished(None, SCRATCH, **{"cases.csv": "subject,session,dice,nsd\n01,,0.5,1\nNA,02,,1\n"})
    table = cases_of(files_of(store, run))
    assert "nsd" not in table, "a comparison does not take it"
    assert table[["subject", "session", "init", "train_size", "repeat"]].to_numpy().tolist() == [
        ["01", "", "mine", 4, 1],
        ["NA", "02", "mine", 4, 1],
    ]
    assert table["dice"].isna().tolist() == [False, True]


def test_of_a_large_table_the_columns_that_are_asked_for_are_read(store: Store, finished: Any) -> None:
    text = "study,side,volume_mm3\nNA,reference,9\nb,prediction,8\n"
    files = files_of(store, finished(None, SCRATCH, **{"lesions.csv": text}))
    table = table_of(files, "lesions.csv", ("study", "volume_mm3"))
    assert table is not None
    assert table.to_numpy().tolist() == [["NA", 9], ["b", 8]]
    assert str(table["study"].dtype) == "category"
    assert table_of(files, "froc.csv", ("study",)) is None

"""What the benchmark of the comparison is measured on, and how its phases are timed."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from lesionseg.tracking.mlflow_store import open_store
from lesionseg.tracking.sweep import sweep_children

FOLDER = Path(__file__).parents[2] / "experiments" / "benchmarks" / "compare"


@pytest.fixture(scope="module")
def benchmark() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        spec = importlib.util.spec_from_file_location("run_compare", FOLDER / "run.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
        sys.modules.pop("synthetic_sweep", None)


def files(benchmark: ModuleType, folder: Path, quality: float = 0.5) -> dict[str, pd.DataFrame]:
    grid = benchmark.Grid(sizes=(5,), n_patients=6, n_lesions=15)
    config = {
        **{"init": {"name": "pretrained"}, "train_size": 5, "repeat": 1},
    }
    module = sys.modules[benchmark.make_sweep.__module__]
    written = module.write_files(folder, config, grid, quality, 1)
    assert {"config.yaml", "split.json", "transfer_report.json"} < {path.name for path in written}
    return {path.stem: pd.read_csv(path) for path in written if path.suffix == ".csv"}


def test_cases_lesions_and_thresholds_tell_the_same_story(benchmark, tmp_path):
    tables = files(benchmark, tmp_path)
    cases, lesions, froc = (tables[name] for name in ("cases", "lesions", "froc"))
    assert cases["n_reference"].tolist()[-1] == 0, "the last patient has no lesion"
    for case in cases.to_dict("records"):
        own = lesions[lesions["study"] == case["study"]].groupby(["side", "verdict"]).size()
        assert own.get(("reference", "detected"), 0) == own.get(("prediction", "true"), 0) == case["detected_reference"]
        assert own.get(("prediction", "false"), 0) == case["false_positives"]
        cut = froc[(froc["study"] == case["study"]) & (froc["threshold"] >= 0.5)].tail(1)
        assert cut["detected_reference"].sum() == case["detected_reference"]
        assert cut["false_positives"].sum() == case["false_positives"]


def test_a_sweep_is_made_once_and_another_one_refused(benchmark, with_store, tmp_path):
    folder = with_store(tmp_path / "outputs")
    grid = benchmark.Grid(sizes=(2,), n_repeats=1, n_patients=2, n_lesions=3)
    for _ in range(2):
        benchmark.prepare(folder, grid)
    store = open_store(f"sqlite:///{folder}/mlflow.db", "lesionseg", None, folder / ".lock")
    assert [run.info.status for run in sweep_children(store, "big")] == ["FINISHED"] * 2
    with pytest.raises(SystemExit, match="holds a sweep of 2 runs, not of 4: give another folder"):
        benchmark.prepare(folder, benchmark.Grid(sizes=(2,), n_repeats=2))


def test_every_phase_is_a_function_of_the_command(benchmark):
    assert all(callable(getattr(benchmark.story, name)) for name in benchmark.PHASES)

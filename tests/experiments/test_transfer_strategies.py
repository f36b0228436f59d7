"""The sweep that study.yaml of the strategies asks for."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from lesionseg.config.compose import Request, compose_jobs

FOLDER = Path(__file__).parents[2] / "experiments" / "transfer_strategies"


@pytest.fixture(scope="module")
def strategies() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        spec = importlib.util.spec_from_file_location("strategies", FOLDER / "strategies.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def test_study_composes_for_every_strategy(strategies, tmp_path):
    given = (f"dataset.root={tmp_path}", f"init.checkpoint={tmp_path / 'source.ckpt'}", "train_size=2", "repeat=0")
    jobs, _ = compose_jobs(Request("train", given, config_dir=FOLDER, config_name="study"))
    names = [job.config.init.name for job in jobs]
    assert names == strategies.GRID["init"]
    conf = {path.stem for path in (FOLDER.parents[1] / "conf" / "init").glob("[!_]*.yaml")}
    assert set(names) == conf, "every strategy that is shipped"
    assert {job.config.sweep for job in jobs} == {"transfer_strategies"}
    assert {key: strategies.GRID[key] for key in ("train_size", "repeat")} == {
        "train_size": ["2", "5", "10"],
        "repeat": ["0", "1", "2"],
    }

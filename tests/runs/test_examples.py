"""Which test studies are shown."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lesionseg.report import SCORES, StudySlice, compare, save_slices
from lesionseg.runs.examples import pictures_of
from lesionseg.tracking import Store, open_store, start_run

F1 = {"a": (0.9, 0.9), "b": (0.5, 0.7), "c": (0.1, 0.3), "none": (np.nan, np.nan)}


@pytest.fixture
def store(with_store: Any, tmp_path: Path) -> Store:
    folder = with_store(tmp_path / "outputs")
    return open_store(f"sqlite:///{folder}/mlflow.db", "exp", str(folder / "artifacts"), folder / ".lock")


def made(store: Store, tmp_path: Path, studies: dict[int, list[str]], size: int = 5) -> list[Any]:
    """Runs of repeats 0 and 1, each with the slices of some studies."""
    runs = []
    for repeat, names in studies.items():
        run = start_run(store, f"r{repeat}", params={"init": "scratch", "train_size": size, "repeat": repeat}, tags={})
        picture = np.full((4, 4), repeat, np.uint8)
        if names:
            slices = [StudySlice(name, f"repeat {repeat}", picture, picture, (1.0, 1.0), 2) for name in names]
            save_slices(slices, tmp_path / "slices.npz")
            run.log_file(tmp_path / "slices.npz")
        runs.append(store.client.get_run(run.run_id))
    return runs


def cases(*sizes: int) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                **{"init": "scratch", "train_size": size, "repeat": repeat, "study": study, "subject": study},
                **{"session": "", "n_reference": 2, **dict.fromkeys(SCORES, f1)},
                **{"false_positives": 0, "false_positive_volume_ml": 0.0},
            }
            for size in sizes
            for study, values in F1.items()
            for repeat, f1 in enumerate(values)
        ]
    )


def shown(store: Store, runs: list[Any], table: pd.DataFrame) -> list[tuple[str, str, str]]:
    pictures = pictures_of(store, runs, table, compare(table, ("scratch",)).results)
    return [(one.which, one.study, one.facts) for one in pictures]


def test_the_median_and_the_worst_by_the_mean_of_the_repeats(store: Store, tmp_path: Path) -> None:
    runs = made(store, tmp_path, {0: ["a", "b", "c", "none"], 1: ["a", "b", "c"]})
    table = cases(5)
    assert shown(store, runs, table) == [("median", "b", "repeat 0"), ("worst", "c", "repeat 0")]


def test_a_repeat_without_slices_is_passed_over(store: Store, tmp_path: Path) -> None:
    assert shown(store, made(store, tmp_path, {0: [], 1: ["b"]}), cases(5)) == [("median", "b", "repeat 1")]
    assert shown(store, made(store, tmp_path, {0: [], 1: []}), cases(5)) == []


def test_an_arm_is_shown_at_its_largest_size(store: Store, tmp_path: Path) -> None:
    runs = [*made(store, tmp_path, {0: ["a", "b", "c"]}, 5), *made(store, tmp_path, {0: ["b"]}, 10)]
    table = cases(5, 10).query("repeat == 0")
    assert shown(store, runs, table) == [("median", "b", "repeat 0")], "c has no picture at 10"


def test_one_study_is_shown_once_and_none_without_a_score(store: Store, tmp_path: Path) -> None:
    runs = made(store, tmp_path, {0: ["a"], 1: ["a"]})
    assert shown(store, runs, cases(5).query("study == 'a'")) == [("worst", "a", "repeat 0")]
    assert shown(store, runs, cases(5).query("study == 'none'")) == []

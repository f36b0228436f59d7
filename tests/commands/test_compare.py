"""The report of a sweep that no network was trained for, from a real store."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from lesionseg.commands import compare as command
from lesionseg.commands.compare import compare
from lesionseg.commands.sweep_runs import read_rows
from lesionseg.config.compose import Request, compose_jobs
from lesionseg.config.schema import CompareConfig
from lesionseg.errors import InputError
from lesionseg.tracking.artifacts import artifacts_of
from lesionseg.tracking.mlflow_store import Store, open_store
from lesionseg.tracking.sweep import sweep_parent

MAKER = Path(__file__).parents[2] / "experiments" / "benchmarks" / "compare" / "synthetic_sweep.py"
TABLES = {"comparison", "label_savings", "learning_curves", "froc", "by_lesion_size", "matched_ppv", "patients"}


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("synthetic_sweep", MAKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def store(with_store: Any, maker: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two sweeps: ``three`` arms, all finished, and ``part``, of which a run is missing."""
    folder = with_store(tmp_path_factory.mktemp("compare"))
    found = open_store(f"sqlite:///{folder}/mlflow.db", "lesionseg", str(folder / "artifacts"), folder / ".lock")
    small = {"sizes": (2, 5, 10), "n_repeats": 3, "n_patients": 6, "n_lesions": 8}
    maker.make_sweep(found, "three", maker.Grid(arms=("scratch", "pretrained", "lora"), **small))
    maker.make_sweep(found, "part", maker.Grid(**{**small, "sizes": (2, 5)}), unfinished=1)
    return found


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figures and an empty page, which take seconds."""

    def no_page(comparisons: Any, drawings: Any, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    monkeypatch.setattr("lesionseg.commands.compare.write_page", no_page)
    monkeypatch.setattr("lesionseg.report.figures.draw_comparison", lambda comparison: [])


@pytest.fixture
def told(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the command prints; its files are in ``tmp_path / "report"``."""

    def run(*overrides: str) -> str:
        assert compare(_config(store, f"output={tmp_path / 'report'}", *overrides)) == 0
        return capsys.readouterr().out

    return run


def _config(store: Store, *overrides: str) -> CompareConfig:
    folder = Path(store.uri.removeprefix("sqlite:///")).parent
    config = compose_jobs(Request("compare", (f"paths.outputs={folder}", *overrides)))[0][0].config
    assert isinstance(config, CompareConfig)
    return config


def test_every_arm_is_held_against_scratch_and_all_of_it_is_written_and_logged(told, store, tmp_path):
    out = told("sweep=three")
    assert "has the highest mean F1 of 3 arms" in out
    assert "difference from scratch [95 % CI]" in out
    written = {path.relative_to(tmp_path / "report").as_posix() for path in (tmp_path / "report").rglob("*.*")}
    assert written >= {"report.html", "comparison.md", *(f"{name}.csv" for name in TABLES)}
    assert "figures/learning_curves.png" in written
    folder = artifacts_of(store, store.client.get_run(sweep_parent(store, "three"))).folder
    assert folder is not None
    logged = {path.relative_to(folder / "comparison").as_posix() for path in (folder / "comparison").rglob("*.*")}
    assert logged == written
    note = store.client.get_run(sweep_parent(store, "three")).data.tags["mlflow.note.content"]
    assert note.startswith("# three: scratch, lora and pretrained\n\nWith 2 training studies ")
    assert note.endswith("\n\nAll of it is in the artifact comparison/report.html.")
    table = pd.read_csv(tmp_path / "report" / "comparison.csv")
    assert set(table["quantity"]) == {"scratch", "lora", "pretrained", "lora - scratch", "pretrained - scratch"}
    assert set(table["sweep"]) == {"three"}
    assert table["holm_p"].notna().sum() == 2 * 3 * 3, "two arms, three sizes, three scores"


@pytest.mark.usefixtures("plain")
def test_any_two_arms_can_be_compared(told, tmp_path):
    out = told("sweep=three", "arms=[pretrained,lora]")
    assert "scratch" not in out.partition("What was compared")[0]
    table = pd.read_csv(tmp_path / "report" / "label_savings.csv")
    assert {*zip(table["arm"], table["reference"], strict=True)} == {("lora", "pretrained")}


@pytest.mark.slow
@pytest.mark.usefixtures("plain")
def test_several_sweeps_go_into_one_report(told, store, tmp_path):
    out = told("sweep=[three,part]")
    assert out.startswith("three (flair_lesions)")
    assert "\n\npart (flair_lesions)\n\n" in out
    assert set(pd.read_csv(tmp_path / "report" / "froc.csv")["sweep"]) == {"three", "part"}
    folder = artifacts_of(store, store.client.get_run(sweep_parent(store, "part"))).folder
    assert folder is not None
    assert (folder / "comparison" / "report.html").is_file()


@pytest.mark.usefixtures("plain")
def test_what_is_not_finished_is_said(told):
    out = told("sweep=part")
    assert "pretrained, train_size 5, repeat 2 has no finished run" in out
    assert "pretrained-n5-r2 is interrupted and not in the table" in out


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(
    ("has", "said"),
    [
        (lambda files: False, "No run has a froc.csv: FROC and PPV at matched sensitivity cannot be told."),
        (
            lambda files: files.key[2] == 1,
            "7 of 11 runs have no lesions.csv: scores by lesion volume rest on the others.",
        ),
    ],
)
def test_runs_of_an_older_version_lack_tables_and_it_is_said(told, monkeypatch, has, said):
    monkeypatch.setattr(
        "lesionseg.commands.compare.read_rows",
        lambda files, name, columns: read_rows(files, name, columns) if has(files) else None,
    )
    assert said in told("sweep=part")


@pytest.mark.parametrize(
    ("overrides", "faults"),
    [
        (("sweep=third",), ["sweep=third: there is no run of that name in "]),
        (
            ("sweep=[three,part]", "arms=[scratch,lora]"),
            ["arms: sweep=part has no lora; its arms: scratch, pretrained"],
        ),
        (
            ("sweep=[third,three]", "arms=[mine]"),
            ["sweep=third: there is no run", "arms: sweep=three has no mine; its arms: scratch, lora, pretrained"],
        ),
        (("sweep=three", "criterion=own"), ["criterion=own: the runs know task, any_overlap_26, "]),
        (("sweep=part", "criterion=anima"), ["kept no predictions"] * 11),
        (("sweep=part", "min_volume=5"), ["kept no predictions"] * 11),
    ],
)
def test_what_cannot_be_compared_is_told_at_once(store, overrides, faults):
    with pytest.raises(InputError) as caught:
        compare(_config(store, *overrides))
    assert len(caught.value.faults) == len(faults)
    for fault, beginning in zip(caught.value.faults, faults, strict=True):
        assert beginning in fault


def test_an_output_that_is_a_file_is_refused_before_anything_is_read(store, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"output=.*file: .* is a file; choose another folder"):
        compare(_config(store, "sweep=third", f"output={tmp_path / 'file'}"))


@pytest.mark.slow
@pytest.mark.usefixtures("plain")
def test_the_report_is_the_same_from_several_processes(told, monkeypatch):
    here = told("sweep=part")
    monkeypatch.setattr(command, "_MANY_RUNS", 1)
    monkeypatch.setattr(command.os, "cpu_count", lambda: 2)
    assert told("sweep=part") == here

"""The table and the figure of the strategies on hand-made cases, and the sweep that study.yaml asks for."""

import importlib.util
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.image import imread

from lesionseg.config.compose import Request, compose_jobs
from lesionseg.report import RunRecord, analyse
from lesionseg.stats import crossed_difference

FOLDER = Path(__file__).parents[2] / "experiments" / "transfer_strategies"


def record(arm: str, size: int, repeat: int, best: float | None = None) -> RunRecord:
    """A run of which 62.5 % of the values come from a source, unless it is from scratch."""
    transfer = {"loaded_share": 0.0 if arm == "scratch" else 0.625}
    return RunRecord(arm, size, repeat, {}, {}, {}, transfer, best_validation=best)


F1 = {  # of each repeat, the patients
    ("scratch", 2): [[0.2, 0.4, 0.6], [0.4, 0.4, 0.2], [0.3, 0.4, 0.4]],
    ("pretrained", 2): [[0.5, 0.5, 0.9], [0.6, 0.7, 0.4], [0.4, 0.6, 0.8]],
    ("zero_shot", 2): [[0.1, 0.1, 0.1]],
    ("scratch", 5): [[0.5, 0.5, 0.5]],
}
VALIDATION = {("scratch", 2): (0.3, 0.4, None), ("pretrained", 2): (0.5, 0.6, 0.7)}


@pytest.fixture(scope="module")
def strategies() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        spec = importlib.util.spec_from_file_location("strategies", FOLDER / "strategies.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def cases() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                **{"init": arm, "train_size": size, "repeat": repeat, "subject": f"sub-{patient}", "session": ""},
                **{"lesion_f1": f1, "lesion_sensitivity": f1 / 2, "lesion_ppv": f1 / 4, "dice": f1},
                **{"n_reference": 3, "false_positives": 0, "false_positive_volume_ml": 0.0},
            }
            for (arm, size), repeats in F1.items()
            for repeat, patients in enumerate(repeats)
            for patient, f1 in enumerate(patients)
        ]
    )


@pytest.fixture(scope="module")
def runs() -> list[tuple[RunRecord, float]]:
    """Each with the share of values that it trains first."""
    found = []
    for (arm, size), repeats in F1.items():
        for repeat, best in enumerate(VALIDATION.get((arm, size), [None] * len(repeats))):
            found.append((record(arm, size, repeat, best), 0.0 if arm == "zero_shot" else 1.0))
    return found


@pytest.fixture(scope="module")
def written(strategies, cases, runs, tmp_path_factory) -> tuple[str, Path]:
    folder, printed = tmp_path_factory.mktemp("strategies") / "new", StringIO()
    with redirect_stdout(printed):
        strategies.write(cases, runs, folder, ["lora-n2-r0 is running and not in the table"])
    return printed.getvalue(), folder


def test_the_numbers_are_those_of_the_cases(written):
    numbers = pd.read_csv(written[1] / "strategies.csv").set_index(["train_size", "strategy"])
    scratch, pretrained = (np.array(F1[arm, 2]).T for arm in ("scratch", "pretrained"))
    row, tested = numbers.loc[2, "pretrained"], crossed_difference(pretrained - scratch)
    expected = {
        "lesion_f1": (0.5 + 0.6 + 0.7) / 3,
        "standard_error": 0.1 / 3**0.5,
        "lesion_sensitivity": 0.3,
        "lesion_ppv": 0.15,
        "n_patients": 3,
        "n_repeats": 3,
        "difference_mean": 0.6 - (0.3 + 0.4 + 0.4) / 3,
        "difference_low": tested.low,
        "difference_high": tested.high,
        "difference_p": tested.p,
        "difference_n_repeats": 3,
        "best_validation": 0.6,
        "taken_percent": 62.5,
        "trained_percent": 100,
    }
    np.testing.assert_allclose(row[list(expected)].astype(float), list(expected.values()))
    assert numbers.loc[(2, "scratch"), "best_validation"] == pytest.approx(0.35), "the repeats that have one"
    assert numbers.loc[(2, "scratch"), ["taken_percent", "trained_percent"]].tolist() == [0, 100]
    assert numbers.loc[(2, "zero_shot"), "difference_mean"] == pytest.approx(0.1 - 0.4), "of the repeat that both have"
    assert numbers.loc[(2, "zero_shot"), "trained_percent"] == 0


def test_the_figure_has_a_panel_per_size_and_says_what_is_not_finished(strategies, cases, written):
    assert imread(written[1] / "strategies.png").shape[1] > 900
    arms = ("scratch", "pretrained", "zero_shot")
    two, five = strategies.draw_strategies(analyse(cases, arms), arms, "scratch").axes
    assert [axes.get_title() for axes in (two, five)] == ["2 training studies", "5 training studies"]
    assert [label.get_text() for label in two.get_yticklabels()] == list(arms)
    assert two.yaxis_inverted(), "the first strategy is on top"
    assert [text.get_text() for text in five.texts] == ["not finished"] * 2
    assert not two.texts
    dots = {bar.lines[0].get_ydata()[0]: bar.lines[0] for bar in two.containers}
    assert [dots[height].get_xdata()[0] for height in range(3)] == pytest.approx([1.1 / 3, 0.6, 0.1])
    assert [to_hex(dots[height].get_markerfacecolor()) for height in range(3)] == ["#000000", "#000000", "#ffffff"]
    repeats = [line.get_xdata() for line in two.lines if line.get_marker() == "."]
    np.testing.assert_allclose(repeats[1], [1.9 / 3, 1.7 / 3, 1.8 / 3])


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

"""The tables: exact text on a small comparison."""

from dataclasses import replace
from math import isnan, nan

import pandas as pd
import pytest

from lesionseg.report import (
    ArmMean,
    RepeatMean,
    Results,
    SizeDifference,
    Validation,
    ValidationMean,
    WithoutLesions,
    format_table,
    format_without_lesions,
    tidy_table,
    write_csv,
)
from lesionseg.stats import PairedDifference

SENSITIVITY = "lesion_sensitivity"
REPEATS = (RepeatMean(0, 0.5), RepeatMean(1, 0.6))
RESULTS = Results(
    arms=("scratch", "pretrained"),
    sizes=(5,),
    repeats=(0, 1),
    n_patients=13,
    n_patients_with_lesions=12,
    n_studies=13,
    n_inconsistent=0,
    means=(
        ArmMean("scratch", 5, SENSITIVITY, 0.494, 0.021, 12, 1, REPEATS),
        ArmMean("pretrained", 5, SENSITIVITY, 0.551, nan, 12, 1, REPEATS),
    ),
    differences=(
        SizeDifference(5, SENSITIVITY, PairedDifference(0.057, 0.02, 9.5, 2.85, 0.0004, -0.001, 0.1, 12, 2, "Why.")),
    ),
    without_lesions=(WithoutLesions("scratch", 5, 1, 2.5, 0.1234, 1.0),),
    missing=(),
)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_markdown():
    header, rule, first, *rest = format_table(RESULTS, "markdown").splitlines()
    assert cells(header) == [
        *(
            "training studies",
            "score",
            "scratch",
            "pretrained",
            "difference [95 % CI]",
            "p",
            "patients × repeats",
        )
    ]
    assert set(rule) <= set("|-:")
    assert cells(first) == [
        *("5", "sensitivity", "0.49 ± 0.02", "0.55 ± –", "+0.06 [0.00, +0.10]", "< 0.001", "12 × 2")
    ]
    assert [cells(line)[1] for line in rest] == ["PPV", "F1", "Dice"]
    assert cells(rest[0]) == ["", "PPV", "–", "–", "–", "–", "–"], "nothing measured is a dash, never a 0"


def test_terminal():
    lines = format_table(RESULTS).splitlines()
    assert len(lines) == 2 + 4
    assert "0.49 ± 0.02" in lines[2]
    assert "|" not in lines[2]
    assert len({len(line.rstrip()) for line in lines[:2]}) <= 2


@pytest.mark.parametrize(
    ("change", "difference", "p"),
    [
        ({"mean": -0.057, "low": -0.1, "high": -0.01, "p": 0.0344}, "−0.06 [−0.10, −0.01]", "0.034"),
        ({"low": nan, "high": nan, "p": nan}, "+0.06 [–]", "–"),
        ({"mean": nan, "low": nan, "high": nan, "p": nan}, "–", "–"),
    ],
)
def test_differences_of_every_kind(change, difference, p):
    row = RESULTS.differences[0]
    results = replace(RESULTS, differences=(replace(row, difference=replace(row.difference, **change)),))
    assert cells(format_table(results, "markdown").splitlines()[2])[4:6] == [difference, p]


def test_one_arm_has_no_column_of_differences():
    results = replace(RESULTS, arms=("scratch",), means=RESULTS.means[:1], differences=())
    lines = format_table(results, "markdown").splitlines()
    assert cells(lines[0]) == ["training studies", "score", "scratch", "patients × repeats"]
    assert cells(lines[2]) == ["5", "sensitivity", "0.49 ± 0.02", "12 × 2"]


def test_studies_without_lesions():
    lines = format_without_lesions(RESULTS, "markdown").splitlines()
    assert cells(lines[2]) == ["5", "scratch", "1", "100 %", "2.50", "0.123"]
    assert format_without_lesions(replace(RESULTS, without_lesions=())) == ""


def test_tidy_has_a_row_per_quantity():
    table = tidy_table(RESULTS)
    assert list(table["quantity"]) == ["scratch", "pretrained", "pretrained - scratch"]
    assert list(table["mean"]) == [0.494, 0.551, 0.057]
    assert table.loc[2, "note"] == "Why."
    assert isnan(table.loc[0, "p"])
    assert (table.loc[0, "n_undefined"], table.loc[2, "n_repeats"]) == (1, 2)


def test_tidy_ends_each_size_with_the_means_on_validation():
    means = (ValidationMean("scratch", 5, 0.31, 2), ValidationMean("pretrained", 5, 0.35, 2))
    table = tidy_table(RESULTS, Validation("val/dice", means))
    last = table.tail(2)
    assert len(table) == 5
    assert last[["score", "quantity", "mean", "n_repeats"]].to_numpy().tolist() == [
        ["val/dice", "scratch", 0.31, 2],
        ["val/dice", "pretrained", 0.35, 2],
    ]
    assert last["n_patients"].isna().all()
    assert set(last["note"]) == {"validation: each run's highest value, mean of the repeats that both arms have"}


def test_the_csv_reads_back_and_nothing_else_is_left_behind(tmp_path):
    path = tmp_path / "new folder" / "comparison.csv"
    write_csv(RESULTS, path)
    read = pd.read_csv(path)
    assert list(read.columns) == list(tidy_table(RESULTS).columns)
    assert read["mean"].tolist() == [0.494, 0.551, 0.057]
    assert [entry.name for entry in path.parent.iterdir()] == ["comparison.csv"]


def test_one_arm_writes_a_csv_too(tmp_path):
    results = replace(RESULTS, arms=("scratch",), means=RESULTS.means[:1], differences=())
    write_csv(results, tmp_path / "one.csv")
    assert pd.read_csv(tmp_path / "one.csv")["quantity"].tolist() == ["scratch"]

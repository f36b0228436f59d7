"""The tables: exact text on a small comparison."""

from dataclasses import replace
from math import nan

import pytest

from lesionseg.report import (
    ArmMean,
    ArmSavings,
    RepeatMean,
    Results,
    SizeDifference,
    WithoutLesions,
    format_savings,
    format_table,
    format_without_lesions,
)
from lesionseg.stats import PairedDifference, SignFlipTest, WilcoxonTest, label_savings

SENSITIVITY = "lesion_sensitivity"
REPEATS = (RepeatMean(0, 0.5), RepeatMean(1, 0.6))
SCRATCH = ArmMean("scratch", 5, SENSITIVITY, 0.494, 0.021, 0.45, 0.54, 12, 1, REPEATS)
PRETRAINED = ArmMean("pretrained", 5, SENSITIVITY, 0.551, nan, nan, nan, 12, 1, REPEATS)
DIFFERENCE = SizeDifference(
    arm="pretrained",
    reference="scratch",
    train_size=5,
    score=SENSITIVITY,
    difference=PairedDifference(0.057, 0.02, 9.5, 2.85, 0.0004, -0.001, 0.1, 12, 2, "Why."),
    holm_p=0.0012,
    sign_flip=SignFlipTest(0.057, 0.01, True, 12, 2),
    wilcoxon=WilcoxonTest(0.05, 3.0, 0.02, 12, 0, 2),
    mixed=None,
)
RESULTS = Results(
    arms=("scratch", "pretrained"),
    sizes=(5,),
    repeats=(0, 1),
    n_patients=13,
    n_patients_with_lesions=12,
    n_studies=13,
    n_inconsistent=0,
    means=(SCRATCH, PRETRAINED),
    differences=(DIFFERENCE,),
    n_tests=3,
    without_lesions=(WithoutLesions("scratch", 5, 1, 2.5, 0.1234, 1.0),),
    missing=(),
)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_markdown():
    header, rule, first, *rest = format_table(RESULTS, "markdown").splitlines()
    assert cells(header) == [
        *("training studies", "score", "scratch", "pretrained", "difference [95 % CI]", "p", "Holm's p"),
        "patients × repeats",
    ]
    assert set(rule) <= set("|-:")
    assert cells(first) == [
        *("5", "sensitivity", "0.49 ± 0.02", "0.55 ± –", "+0.06 [0.00, +0.10]", "< 0.001", "0.001", "12 × 2")
    ]
    assert [cells(line)[1] for line in rest] == ["PPV", "F1", "Dice"]
    assert cells(rest[0]) == ["", "PPV", *["–"] * 6], "nothing measured is a dash, never a 0"


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
    row = replace(DIFFERENCE, difference=replace(DIFFERENCE.difference, **change), holm_p=nan)
    results = replace(RESULTS, differences=(row,))
    assert cells(format_table(results, "markdown").splitlines()[2])[4:7] == [difference, p, "–"]


def test_one_arm_has_no_column_of_differences():
    results = replace(RESULTS, arms=("scratch",), means=(SCRATCH,), differences=())
    lines = format_table(results, "markdown").splitlines()
    assert cells(lines[0]) == ["training studies", "score", "scratch", "patients × repeats"]
    assert cells(lines[2]) == ["5", "sensitivity", "0.49 ± 0.02", "12 × 2"]


def test_more_than_two_arms_stand_below_each_other():
    lora, further = replace(PRETRAINED, arm="lora"), replace(DIFFERENCE, arm="lora", holm_p=0.4)
    results = replace(
        RESULTS,
        arms=("scratch", "pretrained", "lora"),
        means=(SCRATCH, PRETRAINED, lora),
        differences=(DIFFERENCE, further),
    )
    lines = format_table(results, "markdown").splitlines()
    assert cells(lines[0])[2:5] == ["arm", "mean ± SE", "difference from scratch [95 % CI]"]
    assert cells(lines[2]) == ["5", "sensitivity", "scratch", "0.49 ± 0.02", "–", "–", "–", "12 × 2"]
    assert cells(lines[3])[:4] == ["", "", "pretrained", "0.55 ± –"]
    assert cells(lines[4])[2:] == ["lora", "0.55 ± –", "+0.06 [0.00, +0.10]", "< 0.001", "0.400", "12 × 2"]
    assert len(lines) == 2 + 4 * 3


def test_studies_without_lesions():
    lines = format_without_lesions(RESULTS, "markdown").splitlines()
    assert cells(lines[2]) == ["5", "scratch", "1", "100 %", "2.50", "0.123"]
    assert format_without_lesions(replace(RESULTS, without_lesions=())) == ""


def test_label_savings():
    scratch, tuned = ([[[value]] * 2 for value in values] for values in ([0.1, 0.3], [0.2, 0.4]))
    rows = (ArmSavings("pretrained", "scratch", "lesion_f1", label_savings([2, 8], scratch, tuned), ""),)
    lines = format_savings(rows, "markdown").splitlines()
    assert cells(lines[2]) == ["F1", "pretrained", "2", "4 [4 to 4]", "2"], "halfway between 2 and 8 in log n"
    assert cells(lines[3]) == ["F1", "pretrained", "8", "more than 8 [more than 8]", "more than 1"]
    assert format_savings((ArmSavings("pretrained", "scratch", "lesion_f1", None, "None."),)) == ""

"""The methods paragraph: what was run, and nothing that was not."""

from dataclasses import replace

import numpy as np
import pytest

from lesionseg.report import Conduct, SplitDigest, TransferSummary, compare, methods_paragraph

random = np.random.default_rng(2)
SCRATCH = TransferSummary("scratch", "", "", "", 0.0, 0, 10, 0, 1.0)
PRETRAINED = TransferSummary(
    *("pretrained", "runs:/4f2a", "flair_lesions", "1a2b", 0.995, 1, 0, 0, 1.0), strategy={"l2_sp": "0.01"}
)
CONDUCT = Conduct(
    sweep="first",
    task="flair_lesions",
    inputs=("flair", "t1"),
    target="lesion",
    spacing="1 × 1 × 1",
    dataset="msseg",
    n_subjects=30,
    n_validation=5,
    n_test=10,
    splits=(SplitDigest(2, 0, "ab"),),
    sizes=(2, 5),
    repeats=(0, 1),
    model="unet (UNet3D, 1,000 values)",
    steps="500 at 2, 2000 at 5",
    batch_size="2",
    patch_size="48 × 48 × 48",
    learning_rates=("scratch 0.01, not tuned", "pretrained 0.001, not tuned"),
    monitor="val/lesion_f1",
    criterion="found where one voxel overlaps",
    min_volume=3.0,
    rescored=False,
    threshold="a voxel is lesion from a probability of 0.5 on",
    transfers=(SCRATCH, PRETRAINED),
    undefined="",
    versions={"lesionseg": "0.1.0"},
    command="lesionseg compare sweep=first",
)


def paragraph(case_grid, conduct=CONDUCT, sizes=(2, 5), repeats=2, arms=("scratch", "pretrained"), **further):
    values = {(arm, size): 0.4 + 0.1 * random.standard_normal((repeats, 5)) for arm in arms for size in sizes}
    return methods_paragraph(conduct, compare(case_grid(values, **further), arms).results)


def test_data_network_budget_and_weights_are_told(case_grid):
    text = paragraph(case_grid)
    for part in (
        "unet (UNet3D, 1,000 values), was trained to segment lesion from flair and t1 in the msseg data (30 subjects) "
        "with 2 and 5 training studies.",
        "Subjects were divided once into 10 for testing, 5 for validation and a pool for training",
        "In each of 2 repeats the training subset of every size was drawn anew",
        "Two kinds of first weights were compared: scratch, all drawn at random; pretrained, 99.5 % of the "
        "network's values "
        "from runs:/4f2a (flair_lesions) (l2_sp 0.01).",
        "Each run took 500 at 2, 2000 at 5 optimiser steps of 2 patches of 48 × 48 × 48 voxels, at a spacing of "
        "1 × 1 × 1 mm.",
        "Learning rates: scratch 0.01, not tuned; pretrained 0.001, not tuned.",
        "The checkpoint with the highest lesion F1 on the validation studies",
        "Lesions were counted as follows: found where one voxel overlaps; lesions below 3 mm³ were left out on "
        "both sides.",
        "5 patients with reference lesions",
        "Software: lesionseg 0.1.0.",
    ):
        assert part in text
    assert "without one" not in text


def test_the_tests_are_those_that_were_made(case_grid):
    text = paragraph(case_grid)
    assert "patients and repeats crossed, degrees of freedom by Satterthwaite" in text
    assert "adjusted by Holm's method for the 6 tests of sensitivity, PPV and F1" in text
    assert "and a linear mixed model" in text
    assert "isotonic regression" in text
    one = paragraph(case_grid, sizes=(2,), repeats=1)
    assert "tested by a paired t test over patients" in one
    assert "the variance between trainings is unknown" in one
    assert "Satterthwaite" not in one
    assert "isotonic" not in one


def test_one_arm_is_not_compared(case_grid):
    text = paragraph(case_grid, replace(CONDUCT, transfers=(SCRATCH,)), arms=("scratch",))
    assert "One kind of first weights was used: scratch, all drawn at random." in text
    assert "Holm" not in text
    assert "isotonic" not in text


def test_a_model_too_large_is_not_claimed(case_grid, monkeypatch):
    monkeypatch.setattr("lesionseg.report.measure.MOST_CELLS", 1)
    assert "mixed model" not in paragraph(case_grid)


@pytest.mark.parametrize(("monitor", "told"), [("val/dice", "highest Dice"), ("val/lesion_ppv", "highest lesion PPV")])
def test_scores_are_called_by_their_names(case_grid, monitor, told):
    assert told in paragraph(case_grid, replace(CONDUCT, monitor=monitor))


def test_another_rule_and_patients_without_lesions_are_told(case_grid):
    text = paragraph(case_grid, replace(CONDUCT, rescored=True))
    assert "Lesions were counted as follows, applied to the stored predictions: " in text
    values = {(arm, 2): [[0.1, 0.2, 0.3]] * 2 for arm in ("scratch", "pretrained")}
    cases = case_grid(values)
    results = compare(cases.assign(n_reference=cases["subject"].ne("0") * 2), ("scratch", "pretrained")).results
    assert "1 test patient without one is reported apart, with the false positives." in methods_paragraph(
        CONDUCT, results
    )

"""Every number of a report, read back from its tables."""

from math import inf, isnan

import numpy as np
import pandas as pd
import pytest

from lesionseg.report import TABLES, Evidence, compare, write_tables
from lesionseg.report.spreadsheets import (
    curves_table,
    froc_table,
    main_table,
    matched_table,
    patients_table,
    savings_table,
    strata_table,
    without_lesions_table,
)
from lesionseg.report.strata import VolumeCounts

random = np.random.default_rng(3)
VALUES = {
    (arm, size): (0.3 + gain + 0.05 * size + 0.1 * random.standard_normal((2, 6))).clip(0, 1)
    for arm, gain in (("scratch", 0.0), ("pretrained", 0.2))
    for size in (2, 5)
}
ARMS = ("scratch", "pretrained")


@pytest.fixture
def comparison(case_grid, arm_runs):
    counts = {"n_prediction": 4, "detected_reference": 1, "true_prediction": 3}
    cases = pd.concat([case_grid(VALUES, **counts), case_grid(VALUES, n_reference=0, **counts).assign(subject="empty")])
    cases = cases.drop_duplicates(["init", "train_size", "repeat", "subject"])
    runs = [*arm_runs("scratch", best_validation=0.31), *arm_runs("pretrained", best_validation=0.35)]
    volumes = [VolumeCounts(arm, size, 0, ("0", "1"), np.full((2, 2, 4), 2)) for arm in ARMS for size in (2, 5)]
    evidence = Evidence(runs=runs, volumes=volumes, volume_edges_mm3=(10.0,))
    return compare(cases, ARMS, evidence, sweep="first", task="flair_lesions")


def test_the_main_table_has_a_row_per_quantity(comparison):
    table = main_table(comparison).set_index(["train_size", "score", "quantity"])
    mean = comparison.results.mean("pretrained", 5, "lesion_ppv")
    row = table.loc[5, "lesion_ppv", "pretrained"]
    assert (row["mean"], row["low"], row["high"]) == (mean.mean, mean.low, mean.high)
    assert (row["pooled"], row["n_patients"], row["n_undefined"]) == (0.75, 6, 1)
    assert isnan(row["p"])
    tested = comparison.results.difference("pretrained", 5, "lesion_ppv")
    row = table.loc[5, "lesion_ppv", "pretrained - scratch"]
    assert (row["p"], row["holm_p"], row["df"]) == (tested.difference.p, tested.holm_p, tested.difference.df)
    assert (row["sign_flip_p"], row["wilcoxon_p"], row["mixed_p"]) == (
        *(tested.sign_flip.p, tested.wilcoxon.p, tested.mixed.p),
    )
    assert row["note"] == tested.difference.note
    assert list(dict.fromkeys(main_table(comparison)["score"])) == [
        *("lesion_sensitivity", "lesion_ppv", "lesion_f1", "dice", "val/dice")
    ]


def test_the_means_on_validation_end_each_size(comparison):
    last = main_table(comparison).query("train_size == 5").tail(2)
    assert last[["score", "quantity", "mean", "n_repeats"]].to_numpy().tolist() == [
        ["val/dice", "scratch", pytest.approx(0.31), 3],
        ["val/dice", "pretrained", pytest.approx(0.35), 3],
    ]
    assert set(last["note"]) == {"validation: each run's highest value, mean of the repeats that all arms have"}


def test_savings_say_number_and_bound(comparison):
    table = savings_table(comparison).query("score == 'lesion_f1'").set_index("train_size")
    (one,) = (row for row in comparison.savings if row.score == "lesion_f1")
    for saving in one.savings.savings:
        row = table.loc[int(saving.size)]
        assert (row["needed"], row["needed_bound"]) == (saving.needed.estimate.value, saving.needed.estimate.bound)
        assert (row["multiplier"], row["saved"]) == (saving.multiplier.estimate.value, saving.saving.estimate.value)


def test_curves_have_a_column_per_repeat(comparison):
    table = curves_table(comparison).set_index(["score", "arm", "train_size"])
    row = table.loc["dice", "scratch", 2]
    assert [row["repeat_0"], row["repeat_1"]] == pytest.approx(VALUES["scratch", 2].mean(axis=1))
    assert row["isotonic"] == pytest.approx(row["mean"])
    assert isnan(row["power_law"]), "two sizes"


def test_strata_have_a_row_per_score(comparison):
    table = strata_table(comparison)
    assert len(table) == 2 * 2 * 2 * 2
    assert table["high_mm3"].tolist()[:4] == [10, 10, inf, inf]
    assert table.loc[0, ["score", "mean", "n_patients", "n_lesions"]].tolist() == ["sensitivity", 1, 2, 4]


def test_patients_and_studies_without_lesions_have_a_row_each(comparison):
    assert len(patients_table(comparison)) == 2 * 2 * 4 * 7
    assert without_lesions_table(comparison)["n_studies"].tolist() == [1] * 4


def test_what_there_is_not_has_no_row(comparison):
    assert froc_table(comparison).empty
    assert matched_table(comparison).empty


def test_the_files_read_back_and_nothing_else_is_left_behind(comparison, tmp_path):
    folder = tmp_path / "new folder"
    written = write_tables([comparison, comparison], folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in written)
    assert {path.stem for path in written} == {*TABLES} - {"froc", "matched_ppv"}
    read = pd.read_csv(folder / "comparison.csv")
    assert list(read.columns) == ["sweep", "task", *main_table(comparison).columns]
    assert len(read) == 2 * len(main_table(comparison))
    assert set(read["task"]) == {"flair_lesions"}

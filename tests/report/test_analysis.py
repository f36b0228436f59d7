import numpy as np
import pandas as pd
import pytest

from lesionseg.report.analysis import SCORES, analyse, pair_tables, tidy_cases
from lesionseg.stats import crossed_difference, holm

ARMS = ("scratch", "pretrained")


def test_means_and_differences_are_those_of_the_patients(cases):
    found = analyse(cases, ARMS).estimates
    with_lesions = cases[cases["n_reference"] > 0]
    for size in (2, 8):
        for score in SCORES:
            table = {
                arm: with_lesions[(with_lesions["init"] == arm) & (with_lesions["train_size"] == size)].pivot(
                    index="subject", columns="repeat", values=score
                )
                for arm in ARMS
            }
            own = found[(found["train_size"] == size) & (found["score"] == score)].set_index("quantity")
            for arm in ARMS:
                assert own.loc[arm, "mean"] == pytest.approx(table[arm].mean(axis=1).mean())
            expected = crossed_difference((table["pretrained"] - table["scratch"]).to_numpy())
            row = own.loc["pretrained - scratch"]
            for name in ("mean", "low", "high", "p"):
                assert row[name] == pytest.approx(getattr(expected, name), nan_ok=True)
    tested = found[found["reference"] != ""]
    primary = tested["p"].where(tested["score"] != "dice").to_numpy(float)
    np.testing.assert_allclose(tested["holm_p"].to_numpy(float), holm(primary))


def test_studies_without_lesion_stand_apart(cases):
    analysis = analyse(cases, ARMS)
    assert (analysis.basis.n_patients, analysis.basis.n_patients_with_lesions) == (5, 4)
    assert set(analysis.patients.dropna()["patient"]) == {"p0", "p1", "p2", "p3"}
    assert analysis.without_lesions["n_studies"].tolist() == [1] * 4  # the repeats are averaged first
    assert analysis.without_lesions["false_positives"].tolist() == [5.0] * 4


def test_what_a_full_grid_lacks_is_listed(cases):
    lacking = cases[~((cases["init"] == "pretrained") & (cases["train_size"] == 8) & (cases["repeat"] == 1))]
    lacking = lacking.drop(lacking[(lacking["repeat"] == 0) & (lacking["subject"] == "p1")].index[:1])
    missing = analyse(lacking, ARMS).missing.to_dict("records")
    assert missing == [
        {"arm": "scratch", "train_size": 2, "repeat": 0, "lacking": "p1"},
        {"arm": "pretrained", "train_size": 8, "repeat": 1, "lacking": ""},
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="dice"), "lacks the columns dice"),
        (lambda frame: frame.assign(repeat=0.5), "repeat must hold whole numbers"),
        (lambda frame: pd.concat([frame, frame.iloc[:1]]), "1 rows repeat a study"),
        (lambda frame: frame.assign(init="other"), "no case of scratch, pretrained"),
    ],
)
def test_a_table_that_cannot_be_compared_is_refused(cases, change, message):
    with pytest.raises(ValueError, match=message):
        tidy_cases(change(cases), ARMS)


def test_pairs_keep_common_repeats_and_patients_with_a_score():
    one = pd.DataFrame({0: [0.1, np.nan], 1: [0.2, np.nan]}, index=["a", "b"])
    other = pd.DataFrame({1: [0.5, np.nan, 0.9]}, index=["a", "b", "c"])
    np.testing.assert_allclose(pair_tables(one, other), [[0.3], [np.nan]])  # b has no score in either arm

"""PPV at the same sensitivity: an arm that only moved its threshold is not a better one."""

from math import isnan

import numpy as np
import pandas as pd
import pytest

from lesionseg.report.matched import match_repeat, matched_ppv
from lesionseg.report.run_curves import run_curves
from lesionseg.stats import crossed_difference

N_LESIONS, PATIENTS = 10, ("a", "b", "c")


def run(arm, shift=0.0, false=1.0, repeat=0, threshold=0.5):
    """Lesion i of a patient is found at a threshold that falls with i, `false` false ones come with each."""
    rows = []
    for number, study in enumerate(PATIENTS):
        for i in range(1, N_LESIONS + 1):
            wrong = round(false * i) + number
            rows.append((study, N_LESIONS, 1 - 0.08 * i + shift, i, i + wrong, wrong))
    columns = ["study", "n_reference", "threshold", "detected_reference", "n_prediction", "false_positives"]
    places = {"init": arm, "train_size": 5, "repeat": repeat, "study": PATIENTS, "subject": PATIENTS}
    return run_curves(
        pd.DataFrame(rows, columns=columns), pd.DataFrame({**places, "n_reference": N_LESIONS}), threshold
    )


def test_the_same_model_with_another_threshold_has_the_same_ppv():
    found = match_repeat(run("scratch"), run("moved", shift=0.2))
    assert found.sensitivity == pytest.approx(0.6), "of the arm that finds fewer"
    pd.testing.assert_series_equal(found.ppv, found.reference_ppv)


def test_a_better_model_has_a_higher_ppv():
    found = match_repeat(run("scratch", false=2), run("better", shift=0.1))
    i = round(10 * found.sensitivity)
    assert found.ppv["a"] == pytest.approx(i / (2 * i))
    assert found.reference_ppv["a"] == pytest.approx(i / (3 * i))


def test_the_difference_is_tested_over_patients_and_repeats():
    repeats = [match_repeat(run("scratch", 0.1 * k, 2, k), run("better", 0.1, 1 + 0.2 * k, k)) for k in range(3)]
    (found,) = matched_ppv(repeats, ("better", "absent"))
    table = np.stack([one.ppv.to_numpy() - one.reference_ppv.to_numpy() for one in repeats], axis=1)
    assert found.difference == crossed_difference(table)
    assert found.ppv - found.reference_ppv == pytest.approx(found.difference.mean)
    assert found.sensitivity == pytest.approx(np.mean([one.sensitivity for one in repeats]))
    assert (found.arm, found.reference, found.train_size, found.note) == ("better", "scratch", 5, "")


def test_an_arm_that_finds_nothing_cannot_be_matched_and_it_is_said():
    blind = match_repeat(run("scratch", threshold=0.99), run("better"))
    assert (blind.sensitivity, blind.ppv, blind.reference_ppv) == (0, None, None)
    (alone,) = matched_ppv([blind], ("better",))
    assert isnan(alone.ppv)
    assert alone.difference is None
    assert alone.note == "In 1 of 1 repeats an arm finds no lesion at its threshold: nothing to match."
    (beside,) = matched_ppv([blind, match_repeat(run("scratch", repeat=1), run("better", repeat=1))], ("better",))
    assert beside.note.startswith("In 1 of 2 repeats")
    assert beside.difference.n_repeats == 1

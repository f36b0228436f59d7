"""Lesions counted by patient and volume, against the counts of the scored study."""

from math import inf, isnan

import numpy as np
import pandas as pd
import pytest

from lesionseg.metrics import stratify
from lesionseg.report.strata import count_by_volume, size_strata

EDGES = (10.0, 50.0)
CASES = pd.DataFrame(
    [
        {"init": "scratch", "train_size": 5, "repeat": 0, "study": study, "subject": subject, "n_reference": n}
        for study, subject, n in (("a1", "a", 2), ("a2", "a", 2), ("b", "b", 1), ("none", "c", 0))
    ]
)
LESIONS = pd.DataFrame(
    [
        ("a1", "reference", "detected", 9.0),
        ("a1", "reference", "missed", 10.0 * (1 - 1e-12)),
        ("a1", "prediction", "true", 60.0),
        ("a2", "reference", "detected", 5.0),
        ("a2", "reference", "missed", 5.0),
        ("b", "reference", "detected", 70.0),
        ("b", "prediction", "true", 70.0),
        ("b", "prediction", "false", 70.0),
        ("none", "prediction", "false", 70.0),
    ],
    columns=["study", "side", "verdict", "volume_mm3"],
)


def run(lesions=LESIONS, repeat=0, cases=CASES):
    return count_by_volume(lesions, cases.assign(repeat=repeat), EDGES)


@pytest.mark.parametrize("categories", [False, True])
def test_counts_are_those_of_the_study_and_sessions_are_summed(categories):
    found = run(LESIONS.astype({"study": "category", "side": "category"}) if categories else LESIONS)
    assert found.subjects == ("a", "b"), "c has no reference lesion"
    for place, studies in enumerate((["a1", "a2"], ["b"])):
        own = LESIONS[LESIONS["study"].isin(studies)]
        sides = (own[own["side"] == side] for side in ("reference", "prediction"))
        arguments = [
            part for side in sides for part in (side["volume_mm3"], side["verdict"].isin(["detected", "true"]))
        ]
        for stratum, expected in enumerate(stratify(*arguments, EDGES)):
            assert found.counts[place, stratum].tolist() == [
                *(expected.n_reference, expected.detected_reference, expected.n_prediction, expected.true_prediction)
            ]


def test_a_volume_that_is_on_an_edge_but_for_rounding_belongs_above_it():
    assert run().counts[0, 1].tolist() == [1, 0, 0, 0]


def test_shares_are_means_of_the_patients():
    small, middle, large = size_strata([run()], ("scratch",), EDGES)
    assert [(row.low_mm3, row.high_mm3) for row in (small, middle, large)] == [(0, 10), (10, 50), (50, inf)]
    assert (small.sensitivity.mean, small.sensitivity.n_patients, small.sensitivity.n_lesions) == (2 / 3, 1, 3)
    assert isnan(middle.ppv.mean)
    assert (large.ppv.mean, large.ppv.n_patients, large.ppv.n_lesions) == (0.75, 2, 3)
    assert large.ppv.standard_error == pytest.approx(np.std([1, 0.5], ddof=1) / 2**0.5)


def test_repeats_are_summed_within_the_patient_and_told_per_repeat():
    missed = LESIONS.replace({"verdict": {"detected": "missed"}})
    small, *_ = size_strata([run(), run(missed, repeat=1)], ("scratch",), EDGES)
    assert (small.sensitivity.mean, small.sensitivity.n_lesions) == (2 / 6, 3)


def test_arms_and_sizes_stand_in_the_order_that_is_asked_for():
    runs = [run(cases=CASES.assign(init=arm, train_size=size)) for size in (10, 5) for arm in ("b", "a")]
    found = size_strata(runs, ("a", "b", "absent"), EDGES)
    assert [(row.train_size, row.arm) for row in found[::3]] == [(5, "a"), (5, "b"), (10, "a"), (10, "b")]
    assert size_strata([], ("a",), EDGES) == ()


def test_a_cohort_without_any_lesion_has_empty_ranges():
    found = size_strata([run(cases=CASES.assign(n_reference=0))], ("scratch",), EDGES)
    assert [row.sensitivity.n_patients for row in found] == [0, 0, 0]

"""Averages by hand, and what they say of studies that cannot be averaged."""

from math import isnan, nan, sqrt

import numpy as np
import pytest

from lesionseg.metrics import average, false_alarms, score_study


def case(n_reference, sensitivity, ppv=0.5, f1=0.5, dice=0.5, false_positives=0, volume=0.0):
    return {
        "n_reference": n_reference,
        "lesion_sensitivity": sensitivity,
        "lesion_ppv": ppv,
        "lesion_f1": f1,
        "dice": dice,
        "false_positives": false_positives,
        "false_positive_volume_ml": volume,
    }


def test_mean_and_standard_error_by_hand():
    found = average([case(1, 0.2), case(2, 0.4), case(3, 0.9)])["lesion_sensitivity"]
    assert found.mean == pytest.approx(0.5)
    assert found.standard_error == pytest.approx(sqrt((0.09 + 0.01 + 0.16) / 2 / 3))
    assert (found.n, found.n_undefined) == (3, 0)


def test_studies_without_reference_lesion_are_apart():
    rows = [case(1, 1.0, ppv=1.0), case(0, nan, ppv=0.0, false_positives=3, volume=0.6), case(0, nan, ppv=nan)]
    found = average(rows)["lesion_ppv"]
    assert (found.mean, found.n) == (1.0, 1), "their PPV of 0 does not enter the mean"
    apart = false_alarms(rows)
    assert (apart.n_studies, apart.n_with_false_positives) == (2, 1)
    assert apart.mean_false_positives == 1.5
    assert apart.mean_false_positive_volume_ml == pytest.approx(0.3)


def test_what_is_undefined_is_counted():
    found = average([case(1, nan), case(1, 0.5)])["lesion_sensitivity"]
    assert (found.mean, found.n, found.n_undefined) == (0.5, 1, 1)
    assert isnan(found.standard_error), "one study has no spread"


@pytest.mark.parametrize("cases", [[], [case(1, nan, nan, nan, nan)], [case(0, nan)]])
def test_nothing_to_average_is_nan(cases):
    for score in average(cases).values():
        assert isnan(score.mean)
        assert isnan(score.standard_error)
        assert score.n == 0


def test_it_takes_the_rows_of_studies():
    mask = np.zeros((4, 4, 4), dtype=bool)
    mask[1, 1, 1] = True
    rows = [
        score_study(mask, mask, np.eye(4)).case.as_row(),
        score_study(~mask & False, mask, np.eye(4)).case.as_row(),
    ]
    assert average(rows)["lesion_f1"].mean == 1.0
    assert false_alarms(rows).mean_false_positives == 1.0

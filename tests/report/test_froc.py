"""The FROC of runs, their mean and range."""

from math import isnan

import numpy as np
import pandas as pd
import pytest

from lesionseg.metrics import froc_area, sensitivity_at
from lesionseg.report.froc import FALSE_POSITIVES, froc_bands, run_froc
from lesionseg.report.run_curves import run_curves

CASES = pd.DataFrame(
    {
        **{"init": "scratch", "train_size": 5, "repeat": 0, "study": ["a", "b"], "subject": ["a", "b"]},
        "n_reference": [2, 2],
    }
)
ROWS = pd.DataFrame(
    [
        ("a", 2, 0.9, 1, 1, 0),
        ("a", 2, 0.6, 1, 2, 1),
        ("a", 2, 0.4, 2, 3, 1),
        ("b", 2, 0.8, 1, 2, 1),
        ("b", 2, 0.3, 2, 8, 6),
    ],
    columns=["study", "n_reference", "threshold", "detected_reference", "n_prediction", "false_positives"],
)


def curves(repeat=0, rows=ROWS, **further):
    return run_curves(rows, CASES.assign(repeat=repeat, **further), 0.5)


def test_the_curve_is_read_where_the_metrics_read_it():
    found, froc = run_froc(curves(), 8.0), curves().froc()
    np.testing.assert_allclose(found.sensitivity, [sensitivity_at(froc, limit) for limit in FALSE_POSITIVES])
    assert found.area == froc_area(froc, 8.0)


def test_the_operating_point_is_that_of_the_runs_threshold():
    assert run_froc(curves(), 8.0).operating_point == (1.0, 0.5)
    high = run_curves(ROWS, CASES, 0.95)
    assert run_froc(high, 8.0).operating_point == (0.0, 0.0)


def test_a_band_is_the_mean_and_the_range_of_its_repeats():
    worse = ROWS.assign(detected_reference=[0, 0, 1, 1, 1])
    first, second = run_froc(curves(), 8.0), run_froc(curves(1, worse), 8.0)
    (band,) = froc_bands([first, second], ("scratch",))
    np.testing.assert_allclose(band.sensitivity, (first.sensitivity + second.sensitivity) / 2)
    np.testing.assert_allclose(band.low, second.sensitivity)
    np.testing.assert_allclose(band.high, first.sensitivity)
    assert band.area == pytest.approx((first.area + second.area) / 2)
    assert band.operating_point == pytest.approx((1.0, 0.375))
    assert (band.n_repeats, band.area_limit) == (2, 8.0)


def test_one_repeat_has_no_range_and_absent_arms_no_band():
    runs = [run_froc(curves(init=arm, train_size=size), 8.0) for arm in ("b", "a") for size in (10, 5)]
    found = froc_bands(runs, ("a", "b", "absent"))
    assert [(band.train_size, band.arm) for band in found] == [(5, "a"), (5, "b"), (10, "a"), (10, "b")]
    assert (found[0].low, found[0].high) == (None, None)


def test_without_reference_lesions_the_curve_is_undefined():
    empty = run_curves(ROWS.assign(n_reference=0, detected_reference=0), CASES.assign(n_reference=0), 0.5)
    found = run_froc(empty, 8.0)
    assert np.isnan(found.sensitivity).all()
    assert isnan(found.area)
    assert isnan(run_froc(run_curves(ROWS.iloc[:0], CASES.assign(n_reference=0), 0.5), 8.0).operating_point[1])

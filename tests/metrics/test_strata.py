"""Scores by lesion volume, by hand."""

from math import inf, nan

import numpy as np
import pytest

from lesionseg.metrics import lesion_table, stratify


def test_lesions_are_counted_in_the_bin_of_their_volume():
    small, middle, large = stratify(
        [1, 9.9, 10, 49], [True, False, True, True], [10, 60, 70], [False, True, False], [10, 50]
    )
    assert (small.from_mm3, small.to_mm3, middle.from_mm3, middle.to_mm3) == (0, 10, 10, 50)
    assert (large.from_mm3, large.to_mm3) == (50, inf)
    assert (small.n_reference, small.detected_reference, small.sensitivity) == (2, 1, 0.5)
    assert (middle.n_reference, middle.detected_reference, middle.sensitivity) == (2, 2, 1.0)
    assert (middle.n_prediction, middle.true_prediction, middle.ppv) == (1, 0, 0.0)
    assert (large.n_prediction, large.true_prediction, large.ppv) == (2, 1, 0.5)
    np.testing.assert_equal([small.ppv, large.sensitivity], [nan, nan])


def test_without_edges_there_is_one_bin():
    (everything,) = stratify([3.0], [True], [], [], [])
    assert (everything.from_mm3, everything.to_mm3, everything.sensitivity) == (0, inf, 1.0)


def test_a_volume_on_the_edge_belongs_to_the_upper_bin_in_binary_fractions_too():
    volume = 3 * 0.1 * 0.1 * 0.1
    _, upper = stratify([volume], [True], [], [], [0.003])
    assert upper.n_reference == 1


def test_the_bins_of_a_lesion_table_hold_every_lesion():
    random = np.random.default_rng(2)
    reference, prediction = random.random((2, 14, 14, 14)) < 0.08
    rows = lesion_table(reference, prediction, np.eye(4))
    volumes = {side: [row.volume_mm3 for row in rows if row.side == side] for side in ("reference", "prediction")}
    hits = {
        side: [row.verdict in ("detected", "true") for row in rows if row.side == side]
        for side in ("reference", "prediction")
    }
    strata = stratify(volumes["reference"], hits["reference"], volumes["prediction"], hits["prediction"], [2, 4])
    assert sum(row.n_reference for row in strata) == len(volumes["reference"])
    assert sum(row.true_prediction for row in strata) == sum(hits["prediction"])


@pytest.mark.parametrize("edges", [[10, 10], [50, 10], [0, 10], [-1], [nan], [inf]])
def test_impossible_edges_are_refused(edges):
    with pytest.raises(ValueError, match="edges between volume bins must be positive and ascending, found"):
        stratify([], [], [], [], edges)

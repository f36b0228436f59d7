"""Scores counted in voxels, by hand."""

from math import nan

import numpy as np
import pytest

from lesionseg.metrics import score_voxels


def line(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8).reshape(1, 1, -1)


def test_each_score_by_hand():
    # reference  ##..
    # prediction .###   voxels of 0.5 × 0.5 × 3 mm
    scores = score_voxels(line(1, 1, 0, 0), line(0, 1, 1, 1), (0.5, 0.5, 3.0))
    assert scores.dice == 2 * 1 / (2 + 3)
    assert (scores.sensitivity, scores.ppv) == (1 / 2, 1 / 3)
    assert scores.volume_reference_ml == pytest.approx(0.0015)
    assert scores.volume_prediction_ml == pytest.approx(0.00225)
    assert scores.volume_difference_ml == pytest.approx(0.00075)
    assert scores.relative_volume_difference == 0.5


@pytest.mark.parametrize(
    ("reference", "prediction", "expected"),
    [
        ((0, 0), (0, 0), (nan, nan, nan, nan)),
        ((0, 0), (0, 1), (0.0, nan, 0.0, nan)),
        ((1, 0), (0, 0), (0.0, 0.0, 0.0, -1.0)),
    ],
    ids=["neither", "no reference", "no prediction"],
)
def test_nothing_to_measure(reference, prediction, expected):
    scores = score_voxels(line(*reference), line(*prediction), (1.0, 1.0, 1.0))
    found = (scores.dice, scores.sensitivity, scores.ppv, scores.relative_volume_difference)
    np.testing.assert_equal(found, expected)


def test_impossible_arguments_are_refused():
    with pytest.raises(ValueError, match="three positive lengths in mm"):
        score_voxels(line(1), line(1), (1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="must share one grid"):
        score_voxels(line(1), line(1, 0), (1.0, 1.0, 1.0))

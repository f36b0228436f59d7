"""Scores counted in voxels, by hand."""

import json
from dataclasses import astuple
from itertools import product
from math import dist, floor, inf, isnan, nan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lesionseg.metrics import score_voxels
from lesionseg.metrics.voxelwise import score_surfaces


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


GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
HERE = (GOLDEN / "expected.json").is_file()
CASES = json.loads((GOLDEN / "expected.json").read_text())["cases"] if HERE else {}
golden = pytest.mark.skipif(not HERE, reason="the golden cases (../shared/golden) are not beside this checkout")
EMPTY = {"01_both_empty", "02_empty_ref", "03_empty_pred"}

MM = (1.0, 1.0, 1.0)
SHAPE = (5, 4, 6)
PAIRS = st.tuples(*[arrays(np.bool_, SHAPE, elements=st.sampled_from([False, True, True]))] * 2)
SPACINGS = st.sampled_from([MM, (0.5, 0.5, 3.0), (0.7, 1.1, 0.9), (2.0, 0.1, 0.3)])


def line_of_surfaces(picture: str) -> np.ndarray:
    return np.array([mark == "#" for mark in picture]).reshape(1, 1, -1)


@golden
@pytest.mark.parametrize("case", sorted(CASES))
def test_golden(case):
    with np.load(GOLDEN / CASES[case]["file"]) as stored:
        scores = score_surfaces(stored["ref"], stored["pred"], tuple(stored["spacing"].tolist()))
    expected = {name: float(value) for name, value in CASES[case]["surface"].items()}
    if case in EMPTY:
        assert isnan(scores.hd95_mm)
        assert isnan(scores.hd_mm), f"ours: undefined; theirs: {expected['hd']}"
        assert isnan(scores.assd_mm), f"ours: undefined; theirs: {expected['assd']}"
        np.testing.assert_equal(scores.nsd, expected["nsd1"])
    else:
        assert scores.hd_mm == pytest.approx(expected["hd"], rel=1e-6)
        assert scores.assd_mm == pytest.approx(expected["assd"], rel=1e-6)
        assert scores.nsd == pytest.approx(expected["nsd1"], rel=1e-6)
        # torch interpolates between ranks in float32, and a rank in the thousands has four digits after its point.
        assert scores.hd95_mm == pytest.approx(expected["hd95"], rel=3e-6)


@golden
def test_the_published_policy_that_ours_departs_from():
    """Said here so that a change on either side is noticed."""
    assert CASES["01_both_empty"]["surface"] == {"hd95": "nan", "hd": "nan", "assd": "nan", "nsd1": "nan"}
    for case in ("02_empty_ref", "03_empty_pred"):
        assert CASES[case]["surface"] == {"hd95": "nan", "hd": "inf", "assd": "inf", "nsd1": 0.0}


@pytest.mark.parametrize(
    ("reference", "prediction", "nsd"),
    [("...", "...", nan), ("...", "#..", 0.0), ("#..", "...", 0.0)],
    ids=["both", "reference", "prediction"],
)
def test_an_empty_mask_has_no_distance(reference, prediction, nsd):
    scores = score_surfaces(line_of_surfaces(reference), line_of_surfaces(prediction), MM)
    np.testing.assert_equal(astuple(scores), (nan, nan, nan, nsd))


def test_a_line_shifted_by_a_voxel_of_two_mm():
    reference, prediction = line_of_surfaces("###...."), line_of_surfaces(".###...")  # from each: 2, 0, 0 mm
    scores = score_surfaces(reference, prediction, (1.0, 1.0, 2.0))
    assert scores.hd_mm == 2
    assert scores.hd95_mm == pytest.approx(0.9 * 2)  # rank 0.95 × (3 − 1) of 0, 0, 2
    assert scores.assd_mm == pytest.approx(4 / 6)
    assert scores.nsd == pytest.approx(4 / 6)
    assert score_surfaces(reference, prediction, (1.0, 1.0, 2.0), tolerance_mm=2.0).nsd == 1


def brute_surface(mask):
    found = []
    for voxel in product(*map(range, mask.shape)):
        around = [
            tuple(at + step * (n == axis) for n, at in enumerate(voxel)) for axis, step in product(range(3), (-1, 1))
        ]
        outside = [
            not all(0 <= at < side for at, side in zip(v, mask.shape, strict=True)) or not mask[v] for v in around
        ]
        if mask[voxel] and any(outside):
            found.append(voxel)
    return found


def brute_percentile(values, share):
    values, rank = sorted(values), share * (len(values) - 1)
    low = floor(rank)
    return values[low] + (rank - low) * (values[min(low + 1, len(values) - 1)] - values[low])


@settings(max_examples=60, deadline=None)
@given(PAIRS, SPACINGS, st.sampled_from([0.0, 0.5, 1.0, 2.3]))
def test_against_all_pairs(pair, spacing, tolerance):
    assume(all(mask.any() for mask in pair))
    mm = [[tuple(np.multiply(voxel, spacing)) for voxel in brute_surface(mask)] for mask in pair]
    there, back = (
        [min(dist(voxel, other) for other in others) for voxel in voxels] for voxels, others in (mm, mm[::-1])
    )
    scores = score_surfaces(*pair, spacing, tolerance_mm=tolerance)
    assert scores.hd_mm == pytest.approx(max(there + back))
    assert scores.hd95_mm == pytest.approx(max(brute_percentile(there, 0.95), brute_percentile(back, 0.95)))
    assert scores.assd_mm == pytest.approx(sum(there + back) / len(there + back))
    near = sum(distance <= tolerance + 1e-9 for distance in there + back)
    assert scores.nsd == pytest.approx(near / len(there + back))


@pytest.mark.parametrize("tolerance", [-0.5, nan, inf])
def test_an_impossible_tolerance(tolerance):
    with pytest.raises(ValueError, match=rf"^The tolerance must be 0 mm or more, found {tolerance}\.$"):
        score_surfaces(line_of_surfaces("#"), line_of_surfaces("#"), MM, tolerance_mm=tolerance)

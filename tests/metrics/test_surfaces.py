"""Surface distances: golden, by hand, by brute force, by properties."""

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

from lesionseg.metrics.components import SparseMask
from lesionseg.metrics.surfaces import SurfaceScores, score_surfaces

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
HERE = (GOLDEN / "expected.json").is_file()
CASES = json.loads((GOLDEN / "expected.json").read_text())["cases"] if HERE else {}
golden = pytest.mark.skipif(not HERE, reason="the golden cases (../shared/golden) are not beside this checkout")
EMPTY = {"01_both_empty", "02_empty_ref", "03_empty_pred"}

MM = (1.0, 1.0, 1.0)
SHAPE = (5, 4, 6)
PAIRS = st.tuples(*[arrays(np.bool_, SHAPE, elements=st.sampled_from([False, True, True]))] * 2)
SPACINGS = st.sampled_from([MM, (0.5, 0.5, 3.0), (0.7, 1.1, 0.9), (2.0, 0.1, 0.3)])


def line(picture: str) -> np.ndarray:
    return np.array([mark == "#" for mark in picture]).reshape(1, 1, -1)


def same(first: SurfaceScores, second: SurfaceScores) -> None:
    np.testing.assert_allclose(astuple(first), astuple(second), rtol=1e-9, atol=0)


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
    scores = score_surfaces(line(reference), line(prediction), MM)
    np.testing.assert_equal(astuple(scores), (nan, nan, nan, nsd))


def test_a_volume_without_voxels():
    nothing = np.zeros((0, 4, 5), dtype=bool)
    np.testing.assert_equal(astuple(score_surfaces(nothing, nothing, MM)), (nan, nan, nan, nan))


def test_a_line_shifted_by_a_voxel_of_two_mm():
    reference, prediction = line("###...."), line(".###...")  # from each: 2, 0, 0 mm
    scores = score_surfaces(reference, prediction, (1.0, 1.0, 2.0))
    assert scores.hd_mm == 2
    assert scores.hd95_mm == pytest.approx(0.9 * 2)  # rank 0.95 × (3 − 1) of 0, 0, 2
    assert scores.assd_mm == pytest.approx(4 / 6)
    assert scores.nsd == pytest.approx(4 / 6)
    assert score_surfaces(reference, prediction, (1.0, 1.0, 2.0), tolerance_mm=2.0).nsd == 1


def test_the_percentile_is_taken_in_each_direction_and_the_mean_over_both():
    scores = score_surfaces(line("#.......#"), line("#........"), MM)  # there: 0, 8; back: 0
    assert scores.hd95_mm == pytest.approx(0.95 * 8)  # over the pooled 0, 0, 8 it would be 0.9 × 8
    assert scores.assd_mm == pytest.approx(8 / 3)  # the mean of both means would be 2
    assert scores.nsd == pytest.approx(2 / 3)


def test_distances_are_in_mm_along_every_axis():
    reference, prediction = np.zeros((2, 2, 2), dtype=bool), np.zeros((2, 2, 2), dtype=bool)
    reference[0, 0, 0], prediction[1, 1, 1] = True, True
    assert score_surfaces(reference, prediction, (3.0, 4.0, 12.0)).hd_mm == pytest.approx(13)


def surface_of(mask):
    """The surface voxels as a mask."""
    return SparseMask.of(mask).surface().dense(tuple(slice(0, side) for side in mask.shape))


def test_what_lies_inside_does_not_count():
    #  #####     #####
    #  #####     #...#
    #  ##### and #...#  as cubes: a hole makes a second surface, 3 × 3 × 3 voxels less its middle, 1 mm inside
    #  #####     #...#
    #  #####     #####
    solid = np.ones((5, 5, 5), dtype=bool)
    hollow = solid.copy()
    hollow[1:-1, 1:-1, 1:-1] = False
    assert surface_of(solid).sum() == surface_of(hollow).sum() == 5**3 - 3**3
    assert astuple(score_surfaces(solid, hollow, MM)) == (0, 0, 0, 1)
    thick = np.ones((7, 7, 7), dtype=bool)
    thick[2:-2, 2:-2, 2:-2] = False
    inner_wall = 6 * 3**2  # the voxels that face the hole of 3 × 3 × 3
    assert surface_of(thick).sum() == 7**3 - 5**3 + inner_wall


def test_only_faces_make_a_surface_and_the_border_is_one():
    cross = np.zeros((3, 3, 3), dtype=bool)
    cross[1, 1, :], cross[1, :, 1], cross[:, 1, 1] = True, True, True
    surface = surface_of(cross)
    assert not surface[1, 1, 1], "its edges and corners are free, its faces are not"
    assert surface.sum() == 6
    assert surface_of(np.ones((3, 3, 3), dtype=bool)).sum() == 26


def test_a_distance_of_exactly_the_tolerance_agrees():
    assert 3 * 0.1 > 0.3
    assert score_surfaces(line("#..."), line("...#"), (1.0, 1.0, 0.1), tolerance_mm=0.3).nsd == 1
    assert score_surfaces(line("#..."), line("...#"), (1.0, 1.0, 0.1), tolerance_mm=0.2999).nsd == 0


def test_without_tolerance_only_shared_voxels_agree():
    assert score_surfaces(line("##.."), line(".##."), MM, tolerance_mm=0.0).nsd == 0.5


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


@given(arrays(np.bool_, SHAPE), SPACINGS)
def test_a_mask_agrees_with_itself(mask, spacing):
    assume(mask.any())
    assert astuple(score_surfaces(mask, mask, spacing, tolerance_mm=0.0)) == (0, 0, 0, 1)


@given(PAIRS, SPACINGS)
def test_neither_side_comes_first(pair, spacing):
    same(score_surfaces(*pair, spacing), score_surfaces(*pair[::-1], spacing))


@given(PAIRS, SPACINGS, st.sets(st.integers(0, 2)))
def test_flipping_changes_nothing(pair, spacing, axes):
    flipped = [np.flip(mask, tuple(axes)) for mask in pair]
    same(score_surfaces(*flipped, spacing), score_surfaces(*pair, spacing))


@given(PAIRS, SPACINGS, st.permutations(range(3)))
def test_the_order_of_the_axes_changes_nothing(pair, spacing, order):
    turned = [mask.transpose(order) for mask in pair]
    same(score_surfaces(*turned, tuple(spacing[axis] for axis in order)), score_surfaces(*pair, spacing))


@given(PAIRS, SPACINGS, st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 3))
def test_padding_changes_nothing(pair, spacing, widths):
    padded = [np.pad(mask, widths) for mask in pair]
    same(score_surfaces(*padded, spacing), score_surfaces(*pair, spacing))


@given(PAIRS, SPACINGS)
def test_memory_order_and_dtype_change_nothing(pair, spacing):
    expected = score_surfaces(*pair, spacing)
    fortran = [np.asfortranarray(mask, dtype=np.float32) for mask in pair]
    strided = [np.repeat(mask, 2, axis=2)[:, :, ::2].astype(np.uint8, order="K") for mask in pair]
    same(score_surfaces(*fortran, spacing), expected)
    same(score_surfaces(fortran[0], pair[1], spacing), expected)
    same(score_surfaces(*strided, spacing), expected)


@given(PAIRS, SPACINGS, st.sampled_from([0.1, 0.5, 3.0]))
def test_larger_voxels_scale_the_distances(pair, spacing, factor):
    scores = score_surfaces(*pair, spacing, tolerance_mm=1.1)
    scaled = score_surfaces(*pair, tuple(factor * edge for edge in spacing), tolerance_mm=1.1 * factor)
    mm = (scores.hd95_mm, scores.hd_mm, scores.assd_mm)
    same(scaled, SurfaceScores(*(factor * distance for distance in mm), nsd=scores.nsd))


@given(PAIRS, SPACINGS)
def test_the_scores_lie_in_order(pair, spacing):
    assume(all(mask.any() for mask in pair))
    scores = score_surfaces(*pair, spacing)
    assert 0 <= scores.hd95_mm <= scores.hd_mm
    assert scores.assd_mm <= scores.hd_mm
    assert 0 <= scores.nsd <= 1
    assert score_surfaces(*pair, spacing, tolerance_mm=scores.hd_mm).nsd == 1


@pytest.mark.parametrize("tolerance", [-0.5, nan, inf])
def test_an_impossible_tolerance(tolerance):
    with pytest.raises(ValueError, match=rf"^The tolerance must be 0 mm or more, found {tolerance}\.$"):
        score_surfaces(line("#"), line("#"), MM, tolerance_mm=tolerance)


def test_impossible_masks_and_spacing():
    with pytest.raises(
        ValueError, match=r"^Spacing must be three positive lengths in mm, found \(1\.0, 0\.0, 1\.0\)\.$"
    ):
        score_surfaces(line("#"), line("#"), (1.0, 0.0, 1.0))
    with pytest.raises(
        ValueError, match=r"^Reference and prediction must share one grid, found shapes \(1, 1, 1\) and"
    ):
        score_surfaces(line("#"), line("##"), MM)
    with pytest.raises(ValueError, match=r"^The prediction must be a mask of 0 and 1, found the values 0\.5\.$"):
        score_surfaces(line("#"), np.full((1, 1, 1), 0.5), MM)

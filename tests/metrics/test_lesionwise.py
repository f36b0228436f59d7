"""Lesionwise scores: by hand, by brute force, by properties."""

from dataclasses import asdict
from math import inf, isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from lesionseg.metrics import Anima, AnyOverlap, BestIoU, dice, lesion_table, score_criteria, score_lesions, stratify

MM = (1.0, 1.0, 1.0)
SHAPE = (5, 4, 6)
PAIRS = st.tuples(*[arrays(np.bool_, SHAPE, elements=st.sampled_from([False, False, False, True]))] * 2)


def line(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8).reshape(1, 1, -1)


def same(first, second) -> None:
    np.testing.assert_equal(asdict(first), asdict(second))


def test_one_found_one_missed_one_false():
    scores = score_lesions(line(1, 1, 0, 1, 0, 0, 0), line(0, 1, 0, 0, 0, 1, 1), (1.0, 2.0, 5.0))
    assert (scores.n_reference, scores.detected_reference) == (2, 1)
    assert (scores.n_prediction, scores.true_prediction, scores.false_positives) == (2, 1, 1)
    assert (scores.sensitivity, scores.ppv, scores.f1, scores.f1_counts) == (0.5, 0.5, 0.5, 0.5)
    assert scores.false_positive_volume_ml == pytest.approx(2 * 10 / 1000)


def test_a_split_lesion_counts_twice_in_ppv_and_once_in_f1_counts():
    # Reference: one long lesion, one short. Prediction: two pieces of the long one, one false.
    reference, prediction = line(1, 1, 1, 0, 1, 0, 0), line(1, 0, 1, 0, 0, 0, 1)
    scores = score_lesions(reference, prediction, MM)
    assert (scores.sensitivity, scores.ppv) == (1 / 2, 2 / 3)
    assert scores.f1 == pytest.approx(2 * (1 / 2) * (2 / 3) / (1 / 2 + 2 / 3))
    assert scores.f1_counts == 1 / (1 + (1 + 1) / 2)


def test_one_prediction_finds_the_two_lesions_that_it_bridges():
    scores = score_lesions(line(1, 0, 1), line(1, 1, 1), MM)
    assert (scores.sensitivity, scores.ppv) == (1, 1)
    assert (scores.detected_reference, scores.true_prediction) == (2, 1)


@pytest.mark.parametrize(
    ("reference", "prediction", "sensitivity", "ppv", "f1"),
    [
        (line(0, 0), line(0, 0), nan, nan, nan),
        (line(0, 0), line(0, 1), nan, 0.0, nan),
        (line(1, 0), line(0, 0), 0.0, 0.0, 0.0),
    ],
    ids=["neither", "no reference", "no prediction"],
)
def test_nothing_to_measure(reference, prediction, sensitivity, ppv, f1):
    scores = score_lesions(reference, prediction, MM)
    np.testing.assert_equal([scores.sensitivity, scores.ppv, scores.f1], [sensitivity, ppv, f1])
    np.testing.assert_equal(scores.f1_counts, f1)


def test_the_smallest_lesion_counts_on_both_sides_before_matching():
    reference, prediction = line(1, 0, 1, 1, 1, 0, 0), line(1, 1, 1, 0, 0, 0, 1)
    scores = score_lesions(reference, prediction, MM, min_volume_mm3=2.0)
    assert (scores.n_reference, scores.n_prediction) == (1, 1)
    assert (scores.sensitivity, scores.ppv) == (1, 1)


def test_a_prediction_on_a_dropped_reference_lesion_is_false():
    scores = score_lesions(line(1, 0, 0), line(1, 1, 0), MM, min_volume_mm3=2.0)
    assert (scores.n_reference, scores.false_positives, scores.ppv) == (0, 1, 0.0)
    assert isnan(scores.sensitivity)


@pytest.mark.parametrize(
    ("reference", "prediction", "message"),
    [
        (np.zeros((2, 2)), np.zeros((2, 2)), r"reference must be 3D, found shape \(2, 2\)"),
        (np.zeros((2, 2, 2)), np.zeros((2, 2, 3)), r"found shapes \(2, 2, 2\) and \(2, 2, 3\)"),
        (
            np.full((1, 1, 1), 2),
            np.zeros((1, 1, 1)),
            "reference must be a mask of 0 and 1, found the values 2",
        ),
        (np.zeros((1, 1, 1)), np.full((1, 1, 1), 0.5), "prediction must be a mask .* found the values 0.5"),
        (np.zeros((1, 1, 1)), np.full((1, 1, 1), nan), "prediction must be finite"),
    ],
)
def test_what_is_no_pair_of_masks_is_refused(reference, prediction, message):
    with pytest.raises(ValueError, match=message):
        score_lesions(reference, prediction, MM)
    with pytest.raises(ValueError, match=message):
        dice(reference, prediction)


def brute_force(reference, prediction, rank):
    """Every lesion, one at a time, with scipy's labels."""
    structure = ndimage.generate_binary_structure(3, rank)
    reference_labels, n_reference = ndimage.label(reference, structure)
    prediction_labels, n_prediction = ndimage.label(prediction, structure)
    detected = sum(bool(prediction[reference_labels == n].any()) for n in range(1, n_reference + 1))
    true = sum(bool(reference[prediction_labels == n].any()) for n in range(1, n_prediction + 1))
    false_voxels = sum(
        int((prediction_labels == n).sum())
        for n in range(1, n_prediction + 1)
        if not reference[prediction_labels == n].any()
    )
    return n_reference, n_prediction, detected, true, false_voxels


@settings(max_examples=80, deadline=None)
@given(PAIRS, st.sampled_from([(6, 1), (18, 2), (26, 3)]))
def test_scores_are_those_of_brute_force(masks, connectivity):
    scores = score_lesions(*masks, MM, AnyOverlap(connectivity=connectivity[0]))
    n_reference, n_prediction, detected, true, false_voxels = brute_force(*masks, connectivity[1])
    assert (scores.n_reference, scores.n_prediction) == (n_reference, n_prediction)
    assert (scores.detected_reference, scores.true_prediction) == (detected, true)
    assert scores.false_positive_volume_ml == pytest.approx(false_voxels / 1000)


def test_several_criteria_at_once_are_each_by_itself():
    random = np.random.default_rng(5)
    reference, prediction = random.random((2, 12, 12, 12)) < 0.15
    criteria = {
        "corner": AnyOverlap(),
        "face": AnyOverlap(connectivity=6),
        "anima": Anima(),
        "iou": BestIoU(min_iou=0.2),
        "own minimum": AnyOverlap(min_volume_mm3=5.0),
    }
    together = score_criteria(reference, prediction, (1.0, 1.0, 2.0), criteria, min_volume_mm3=3.0)
    assert list(together) == list(criteria)
    for name, criterion in criteria.items():
        same(together[name], score_lesions(reference, prediction, (1.0, 1.0, 2.0), criterion, min_volume_mm3=3.0))
    assert together["own minimum"].n_reference < together["corner"].n_reference, "its own minimum goes first"


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

"""Each rule: drawn by hand, held against a plain implementation that goes lesion by lesion, by properties.

In the drawings, letters are the lesions of one side, dots are background; a line is one row of voxels.
"""

from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from lesionseg.metrics import Anima, AnyOverlap, BestIoU, MaskPair, OneToOneIoU, Overlaps, score_lesions

MM = (1.0, 1.0, 1.0)
RANKS = {6: 1, 18: 2, 26: 3}
MASKS = st.tuples(*[arrays(np.bool_, (6, 5, 7), elements=st.sampled_from([False, False, True]))] * 2)


def row(drawing: str) -> np.ndarray:
    return np.array([letter != "." for letter in drawing]).reshape(1, 1, -1)


def found(reference: str, prediction: str, criterion) -> tuple[int, int, int, int]:
    """Detected of all reference lesions, true of all predicted ones."""
    scores = score_lesions(row(reference), row(prediction), MM, criterion)
    return scores.detected_reference, scores.n_reference, scores.true_prediction, scores.n_prediction


def test_any_overlap_asks_for_voxels_or_a_share():
    reference = "AAAAAAAAAA..BB."
    prediction = "aa.............", "aa..........b.."
    assert found(reference, prediction[0], AnyOverlap()) == (1, 2, 1, 1)
    assert found(reference, prediction[1], AnyOverlap(min_voxels=2)) == (1, 2, 1, 2)
    assert found(reference, prediction[1], AnyOverlap(min_fraction=0.5)) == (1, 2, 2, 2), "B is half covered, A a fifth"
    assert found(reference, prediction[1], AnyOverlap(min_fraction=0.2)) == (2, 2, 2, 2), "exactly the share is enough"
    assert found(reference, prediction[1], AnyOverlap(min_fraction=0.5, min_voxels=2)) == (0, 2, 1, 2)


def test_best_iou_may_find_a_lesion_twice_and_one_to_one_may_not():
    reference, prediction = "AAAAAAAAAAAA", "aaaaa.bbbbbb"
    assert found(reference, prediction, BestIoU(min_iou=0.25)) == (1, 1, 2, 2)
    assert found(reference, prediction, OneToOneIoU(min_iou=0.25)) == (1, 1, 1, 2)
    scores = score_lesions(row(reference), row(prediction), MM, OneToOneIoU(min_iou=0.25))
    assert scores.segmentation_quality == 6 / 12, "b, the larger half, is the one that is paired"
    assert scores.recognition_quality == 1 / (1 + 1 / 2)


def test_one_to_one_takes_the_best_pair_first():
    # b overlaps A in two and B in three voxels; a has A to itself.
    reference = "AAAAA.BBBB..."
    prediction = "aa.bbbbbb...."
    scores = score_lesions(row(reference), row(prediction), MM, OneToOneIoU(min_iou=0.1))
    assert (scores.detected_reference, scores.true_prediction) == (2, 2)
    assert scores.segmentation_quality == pytest.approx((2 / 5 + 3 / 7) / 2)


def test_counts_rest_on_the_side_that_the_source_counts():
    # Two predictions find one lesion, another lesion is missed, one prediction is false.
    reference, prediction = "AAAAAAAAAA..BB...", "aaaa.bbbbb.....c."
    any_overlap = score_lesions(row(reference), row(prediction), MM, AnyOverlap())
    assert any_overlap.f1_counts == 1 / (1 + (1 + 1) / 2), "ISLES counts the lesion that was found"
    best_iou = score_lesions(row(reference), row(prediction), MM, BestIoU(min_iou=0.25))
    assert best_iou.f1_counts == 2 / (2 + (1 + 1) / 2), "Shifts counts the predictions that found it"
    assert any_overlap.f1 == best_iou.f1 == pytest.approx(2 * (1 / 2) * (2 / 3) / (1 / 2 + 2 / 3))


def test_anima_drops_lesions_of_three_cubic_millimetres():
    assert found("AAA.BBBB", "aaa.bbbb", Anima()) == (1, 1, 1, 1)
    assert found("AAA.BBBB", "aaa.bbbb", Anima(exclusive=False)) == (2, 2, 2, 2)
    assert found("AAA.BBBB", "aaa.bbbb", Anima(min_volume_mm3=5.0)) == (0, 0, 0, 0)


def test_anima_asks_for_more_than_alpha():
    assert found("A" * 50, "a" * 5 + "." * 45, Anima())[0] == 0, "a tenth is not more than a tenth"
    assert found("A" * 50, "a" * 6 + "." * 44, Anima())[0] == 1


def test_anima_refuses_what_lies_mostly_outside():
    inside, outside = 6, 14
    reference = "A" * 12 + "." * 20
    assert found(reference, "." * (12 - inside) + "a" * (inside + outside) + "." * 6, Anima())[0] == 1, (
        "beta itself may"
    )
    assert found(reference, "." * (12 - inside) + "a" * (inside + outside + 1) + "." * 5, Anima())[0] == 0


def test_anima_stops_asking_once_gamma_is_reached():
    # a covers seven tenths of what is covered and lies inside; b, mostly outside, is not asked any more.
    reference = "." * 20 + "A" * 20
    with_b = "." * 8 + "b" * 15 + "." + "a" * 7 + "." * 9
    assert found(reference, with_b, Anima())[0] == 1
    assert found(reference, with_b, Anima(gamma=0.75))[0] == 0


def test_anima_measures_outside_of_every_reference_lesion():
    # a bridges A and B: what lies in B is not outside.
    assert found("AAAAA.BBBBB", "aaaaaaaaaaa", Anima()) == (2, 2, 1, 1)


CRITERIA = st.one_of(
    st.builds(
        AnyOverlap,
        connectivity=st.sampled_from([6, 18, 26]),
        min_voxels=st.integers(1, 3),
        min_fraction=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    ),
    st.builds(BestIoU, connectivity=st.sampled_from([6, 18, 26]), min_iou=st.sampled_from([0.1, 0.25, 0.5, 1.0])),
    st.builds(OneToOneIoU, connectivity=st.sampled_from([6, 18, 26]), min_iou=st.sampled_from([0.1, 0.25, 0.5])),
    st.builds(
        Anima,
        alpha=st.sampled_from([0.0, 0.1, 0.5]),
        beta=st.sampled_from([0.2, 0.7]),
        gamma=st.sampled_from([0.0, 0.65, 1.0]),
        min_volume_mm3=st.sampled_from([0.0, 2.0, 3.0]),
    ),
)


def lesions(mask, connectivity, minimum, exclusive):
    labels, count = ndimage.label(mask, ndimage.generate_binary_structure(3, RANKS[connectivity]))
    sizes = [(labels == n).sum() for n in range(1, count + 1)]
    return [labels == n for n, size in enumerate(sizes, start=1) if (size > minimum if exclusive else size >= minimum)]


def covered_enough(own, other, criterion):
    """Whether each lesion shares enough of its voxels with the other side's mask."""
    mask = np.any(other, axis=0) if other else np.zeros((6, 5, 7), bool)
    shared = [int((lesion & mask).sum()) for lesion in own]
    return [
        count >= criterion.min_voxels and count / lesion.sum() >= criterion.min_fraction
        for count, lesion in zip(shared, own, strict=True)
    ]


def iou(first, second):
    return (first & second).sum() / (first | second).sum()


def greedy(own, other, minimum):
    """Which lesions are paired, going through all pairs from the best one on."""
    pairs = [(iou(a, b), i, j) for i, a in enumerate(own) for j, b in enumerate(other) if (a & b).any()]
    taken: tuple[set, set] = (set(), set())
    for value, i, j in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
        if value >= minimum and i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
    return taken


def anima_detected(own, other, criterion):
    """The rule as the paper tells it, one lesion after the other."""
    nothing = np.zeros((6, 5, 7), bool)
    everything, mask = (np.any(side, axis=0) if side else nothing for side in (own, other))
    detected = []
    for lesion in own:
        covered = (lesion & mask).sum()
        hit = covered / lesion.sum() > criterion.alpha
        partners = [(int((lesion & one).sum()), one) for one in other if (lesion & one).any()]
        explained = 0
        for shared, partner in sorted(partners, key=lambda pair: -pair[0]):
            if explained / covered >= criterion.gamma:
                break
            if (partner & ~everything).sum() / partner.sum() > criterion.beta:
                hit = False
                break
            explained += shared
        detected.append(bool(hit))
    return detected


def plain(reference, prediction, criterion) -> tuple[int, int]:
    minimum = criterion.min_volume_mm3 or 0.0
    own, other = (
        lesions(mask, criterion.connectivity, minimum, criterion.exclusive) for mask in (reference, prediction)
    )
    match criterion:
        case AnyOverlap():
            return sum(covered_enough(own, other, criterion)), sum(covered_enough(other, own, criterion))
        case BestIoU():
            hits = [[iou(a, b) >= criterion.min_iou for b in other] for a in own]
            return sum(map(any, hits)), sum(map(any, zip(*hits, strict=True)))
        case OneToOneIoU():
            taken = greedy(own, other, criterion.min_iou)
            return len(taken[0]), len(taken[1])
        case Anima():
            return sum(anima_detected(own, other, criterion)), sum(anima_detected(other, own, criterion))
    raise AssertionError(criterion)


@settings(max_examples=250, deadline=None)
@given(MASKS, CRITERIA)
def test_every_rule_is_its_plain_implementation(masks, criterion):
    scores = score_lesions(*masks, MM, criterion)
    assert (scores.detected_reference, scores.true_prediction) == plain(*masks, criterion)


@pytest.mark.parametrize("criterion", [AnyOverlap(), BestIoU(min_iou=0.5), OneToOneIoU(min_iou=0.5), Anima()])
@pytest.mark.parametrize(
    ("reference", "prediction", "sensitivity", "ppv"),
    [("....", "....", None, None), ("....", "aaaa", None, 0.0), ("AAAA", "....", 0.0, 0.0)],
    ids=["neither", "no reference", "no prediction"],
)
def test_the_policy_for_empty_masks_is_the_same_under_every_rule(criterion, reference, prediction, sensitivity, ppv):
    scores = score_lesions(row(reference), row(prediction), MM, criterion)
    for found_value, expected in ((scores.sensitivity, sensitivity), (scores.ppv, ppv), (scores.f1, sensitivity)):
        assert isnan(found_value) if expected is None else found_value == expected
    if isinstance(criterion, OneToOneIoU):
        assert isnan(scores.segmentation_quality) if sensitivity is None else scores.segmentation_quality == 0


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (AnyOverlap, {"connectivity": 8}, "connectivity must be 6, 18 or 26, found 8"),
        (AnyOverlap, {"min_volume_mm3": -1.0}, "min_volume_mm3 must be 0 or more, found -1.0"),
        (AnyOverlap, {"min_volume_mm3": float("inf")}, "min_volume_mm3 must be 0 or more, found inf"),
        (AnyOverlap, {"min_voxels": 0}, "min_voxels must be 1 or more, found 0"),
        (AnyOverlap, {"min_fraction": 1.5}, "min_fraction must lie within 0 … 1, found 1.5"),
        (BestIoU, {"min_iou": 0.0}, "min_iou must be above 0 and at most 1, found 0.0"),
        (OneToOneIoU, {"min_iou": 2}, "min_iou must be above 0 and at most 1, found 2"),
        (Anima, {"alpha": -0.1}, "alpha must lie within 0 … 1, found -0.1"),
        (Anima, {"gamma": float("nan")}, "gamma must lie within 0 … 1, found nan"),
    ],
)
def test_impossible_arguments_are_refused(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**arguments)


PAIRS = st.tuples(*[arrays(np.bool_, (5, 4, 6), elements=st.sampled_from([False, False, False, True]))] * 2)


def line(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint8).reshape(1, 1, -1)


def table(reference, prediction, connectivity=26, spacing=MM) -> Overlaps:
    return MaskPair.of(reference, prediction, spacing).overlaps(connectivity)


def test_every_pair_and_its_voxels_are_noted():
    # reference  ###.#..
    # prediction #.###.#
    overlaps = table(line(1, 1, 1, 0, 1, 0, 0), line(1, 0, 1, 1, 1, 0, 1), spacing=(0.5, 0.5, 3.0))
    assert overlaps.reference_sizes.tolist() == [3, 1]
    assert overlaps.prediction_sizes.tolist() == [1, 3, 1]
    assert overlaps.pairs.tolist() == [[0, 0], [0, 1], [1, 1]]
    assert overlaps.shared.tolist() == [1, 1, 1]
    assert overlaps.reference_covered.tolist() == [2, 1]
    assert overlaps.prediction_covered.tolist() == [1, 2, 0]
    assert overlaps.iou.tolist() == [1 / 3, 1 / 5, 1 / 3]
    assert overlaps.voxel_volume == 0.75


def test_what_is_too_small_becomes_background_on_either_side():
    overlaps = table(line(1, 1, 1, 0, 1, 0, 0), line(1, 0, 1, 1, 1, 0, 1))
    kept, reference, prediction = overlaps.kept(2.0)
    assert (reference.tolist(), prediction.tolist()) == ([True, False], [False, True, False])
    assert (kept.reference_sizes.tolist(), kept.prediction_sizes.tolist()) == ([3], [3])
    assert (kept.pairs.tolist(), kept.shared.tolist()) == ([[0, 0]], [1])
    assert kept.reference_covered.tolist() == [1], "the voxel under the dropped prediction is uncovered now"


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.sampled_from([(6, 1), (18, 2), (26, 3)]))
def test_the_table_is_that_of_brute_force(masks, connectivity):
    overlaps = table(*masks, connectivity=connectivity[0])
    structure = ndimage.generate_binary_structure(3, connectivity[1])
    sides = [ndimage.label(mask, structure) for mask in masks]
    members = [[labels == n for n in range(1, count + 1)] for labels, count in sides]
    sizes = [[int(lesion.sum()) for lesion in side] for side in members]
    expected = sorted(
        (sizes[0][i], sizes[1][j], int((first & second).sum()))
        for i, first in enumerate(members[0])
        for j, second in enumerate(members[1])
        if (first & second).any()
    )
    found = sorted(
        zip(
            overlaps.reference_sizes[overlaps.pairs[:, 0]].tolist(),
            overlaps.prediction_sizes[overlaps.pairs[:, 1]].tolist(),
            overlaps.shared.tolist(),
            strict=True,
        )
    )
    assert found == expected
    assert sorted(overlaps.reference_sizes.tolist()) == sorted(sizes[0])
    assert sorted(overlaps.prediction_sizes.tolist()) == sorted(sizes[1])

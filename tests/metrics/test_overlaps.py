"""The contingency table of two masks: by hand, by brute force, by properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from lesionseg.metrics import MaskPair, Overlaps

MM = (1.0, 1.0, 1.0)
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


def test_exactly_the_minimum_stays_unless_it_is_exclusive():
    overlaps = table(line(1, 1, 0, 0), line(1, 1, 0, 1))
    assert overlaps.kept(2.0)[0].reference_sizes.tolist() == [2]
    assert overlaps.kept(2.0, exclusive=True)[0].reference_sizes.tolist() == []
    with pytest.raises(ValueError, match="must be 0 mm³ or more, found -1"):
        overlaps.kept(-1.0)


def test_the_box_holds_what_both_hold():
    reference, prediction = np.zeros((2, 9, 8, 7), bool)
    reference[3, 2, 1] = prediction[5, 2, 6] = True
    pair = MaskPair.of(reference, prediction, MM)
    assert pair.box == (slice(3, 6), slice(2, 3), slice(1, 7))
    cut, found = pair.masks
    assert cut.shape == found.shape == (3, 1, 6)
    assert (np.argwhere(cut).tolist(), np.argwhere(found).tolist()) == ([[0, 0, 0]], [[2, 0, 5]])
    empty = MaskPair.of(reference & False, prediction & False, MM)
    assert empty.overlaps(26).reference_sizes.size == 0
    with pytest.raises(ValueError, match="three positive lengths"):
        MaskPair.of(reference, prediction, (1.0, -1.0, 1.0))


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


@settings(max_examples=40, deadline=None)
@given(PAIRS, st.permutations([0, 1, 2]), st.sampled_from([6, 18, 26]))
def test_the_layout_in_memory_does_not_matter(masks, axes, connectivity):
    """Views in any order have the same lesions as their copies, numbered in the same order."""
    views = [np.asfortranarray(mask).transpose(axes)[::-1] for mask in masks]
    copies = [np.ascontiguousarray(view) for view in views]
    there, back = (table(*pair, connectivity=connectivity) for pair in (views, copies))
    for name in ("reference_sizes", "prediction_sizes", "pairs", "shared"):
        np.testing.assert_array_equal(getattr(there, name), getattr(back, name))


@settings(max_examples=40, deadline=None)
@given(PAIRS)
def test_swapping_sides_is_swapping_masks(masks):
    swapped, other = table(*masks).swapped(), table(*masks[::-1])
    for name in ("reference_sizes", "prediction_sizes", "pairs", "shared"):
        np.testing.assert_array_equal(getattr(swapped, name), getattr(other, name))


@settings(max_examples=40, deadline=None)
@given(PAIRS, st.sampled_from([6, 18, 26]))
def test_the_numbers_of_lesions_carry_no_meaning(masks, connectivity):
    """Lesions met in another order (the volume turned) get other numbers and the same pairs of sizes."""

    def described(overlaps):
        first = overlaps.reference_sizes[overlaps.pairs[:, 0]]
        second = overlaps.prediction_sizes[overlaps.pairs[:, 1]]
        return sorted(zip(first.tolist(), second.tolist(), overlaps.shared.tolist(), strict=True))

    there = table(*masks, connectivity=connectivity)
    turned = table(*[mask[::-1, ::-1, ::-1] for mask in masks], connectivity=connectivity)
    assert described(there) == described(turned)
    assert sorted(there.reference_sizes.tolist()) == sorted(turned.reference_sizes.tolist())

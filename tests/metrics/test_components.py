"""Lesions as connected components: by hand, against scipy, by properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from lesionseg.metrics import component_sizes, component_volumes, label_components, remove_small, voxel_volume
from lesionseg.metrics.components import SparseMask, bounding_box

MASKS = arrays(np.bool_, array_shapes(min_dims=3, max_dims=3, max_side=6))


def cubes_meeting_at(*corner: int) -> np.ndarray:
    mask = np.zeros((6, 6, 6), dtype=np.uint8)
    mask[:2, :2, :2] = 1
    i, j, k = corner
    mask[i : i + 2, j : j + 2, k : k + 2] = 1
    return mask


@pytest.mark.parametrize(
    ("second", "counts"),
    [((2, 0, 0), (1, 1, 1)), ((2, 2, 0), (2, 1, 1)), ((2, 2, 2), (2, 2, 1)), ((3, 3, 3), (2, 2, 2))],
    ids=["face", "edge", "corner", "apart"],
)
def test_two_cubes_are_one_lesion_by_connectivity(second, counts):
    mask = cubes_meeting_at(*second)
    assert tuple(label_components(mask, connectivity)[1] for connectivity in (6, 18, 26)) == counts


@pytest.mark.parametrize("empty", [np.zeros((3, 4, 5)), np.zeros((0, 4, 5), dtype=bool)])
def test_an_empty_mask_has_no_lesion(empty):
    labels, count = label_components(empty)
    assert count == 0
    assert labels.shape == empty.shape
    assert not labels.any()
    assert component_volumes(labels, count, 1.0).shape == (0,)


@settings(max_examples=60, deadline=None)
@given(MASKS, st.sampled_from([6, 18, 26]))
def test_the_partition_is_scipys(mask, connectivity):
    rank = {6: 1, 18: 2, 26: 3}[connectivity]
    expected, expected_count = ndimage.label(mask, ndimage.generate_binary_structure(3, rank))
    labels, count = label_components(mask, connectivity)
    assert count == expected_count
    pairs = set(zip(labels.ravel().tolist(), expected.ravel().tolist(), strict=True))
    assert len(pairs) == len(np.unique(expected)), "one label for each of scipy's, and the other way"
    np.testing.assert_array_equal(labels > 0, mask)
    assert sorted(component_sizes(labels, count)) == sorted(np.bincount(expected.ravel())[1:])


def test_volumes_are_mm3_in_label_order():
    mask = np.zeros((1, 1, 6), dtype=bool)
    mask[0, 0] = [1, 0, 1, 1, 1, 0]
    labels, count = label_components(mask)
    spacing = (0.5, 0.5, 3.0)
    np.testing.assert_allclose(component_volumes(labels, count, voxel_volume(spacing)), [0.75, 2.25])


@pytest.mark.parametrize(("minimum", "stay"), [(0.0, 4), (2.0, 3), (3.0, 2), (3.0001, 1), (99.0, 0)])
def test_only_lesions_strictly_smaller_than_the_minimum_go(minimum, stay):
    mask = np.zeros((12, 9, 1), dtype=np.uint8)
    for row, size in enumerate((1, 2, 3, 12)):
        mask[:size, 2 * row, 0] = 1
    assert label_components(remove_small(mask, minimum, (1.0, 1.0, 1.0)))[1] == stay


def test_a_lesion_of_exactly_the_minimum_stays_in_binary_fractions_too():
    mask = np.ones((3, 1, 1), dtype=bool)
    assert remove_small(mask, 0.003, (0.1, 0.1, 0.1)).all()


@pytest.mark.parametrize("minimum", [-1.0, float("nan"), float("inf")])
def test_an_impossible_minimum_is_refused(minimum):
    with pytest.raises(ValueError, match="must be 0 mm³ or more"):
        remove_small(np.ones((1, 1, 1)), minimum, (1.0, 1.0, 1.0))


MASKS_SPARSE = arrays(np.bool_, array_shapes(min_dims=3, max_dims=3, min_side=0, max_side=7))


def labelled(mask: SparseMask, connectivity) -> tuple[np.ndarray, int]:
    """The labels in the whole volume."""
    labels, count = mask.labels(connectivity)
    return mask.dense(tuple(slice(0, side) for side in mask.shape), labels), count


@settings(max_examples=150, deadline=None)
@given(MASKS_SPARSE, st.sampled_from([6, 18, 26]))
def test_labels_and_their_order_are_those_of_the_whole_volume(mask, connectivity):
    expected, expected_count = label_components(np.ascontiguousarray(mask), connectivity)
    labels, count = labelled(SparseMask.of(mask), connectivity)
    assert count == expected_count
    np.testing.assert_array_equal(labels, expected)


@settings(max_examples=60, deadline=None)
@given(MASKS_SPARSE, st.permutations([0, 1, 2]))
def test_any_layout_in_memory_lists_the_same_voxels(mask, axes):
    for view in (np.asfortranarray(mask), mask.transpose(axes), mask[::-1, :, ::-1], mask.astype(np.float32) * 7):
        found = SparseMask.of(view)
        np.testing.assert_array_equal(found.at, np.flatnonzero(np.ascontiguousarray(view)))
        np.testing.assert_array_equal(np.stack(found.coordinates, axis=1), np.argwhere(view))


@settings(max_examples=60, deadline=None)
@given(MASKS_SPARSE)
def test_a_surface_is_what_erosion_takes(mask):
    inner = ndimage.binary_erosion(mask) if mask.size else mask
    np.testing.assert_array_equal(SparseMask.of(mask).surface().at, np.flatnonzero(mask & ~inner))


def test_the_box_is_the_smallest_that_holds_all():
    first, second = np.zeros((2, 5, 6, 7), bool)
    first[1, 2, 3] = second[3, 2, 5] = True
    masks = SparseMask.of(first), SparseMask.of(second)
    box = bounding_box(*masks)
    assert box == (slice(1, 4), slice(2, 3), slice(3, 6))
    np.testing.assert_array_equal(masks[1].dense(box), second[box])
    assert bounding_box(SparseMask.of(first & False)) == (slice(0, 0),) * 3
    assert bounding_box(SparseMask.of(first & False), masks[0]) == bounding_box(masks[0])

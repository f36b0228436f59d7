"""A mask as the list of its voxels: the same lesions in the same order as cc3d on the whole volume."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from lesionseg.metrics import components as _sparse
from lesionseg.metrics import label_components
from lesionseg.metrics.components import SparseMask, bounding_box

MASKS = arrays(np.bool_, array_shapes(min_dims=3, max_dims=3, min_side=0, max_side=7))


def labelled(mask: SparseMask, connectivity) -> tuple[np.ndarray, int]:
    """The labels in the whole volume."""
    labels, count = mask.labels(connectivity)
    return mask.dense(tuple(slice(0, side) for side in mask.shape), labels), count


@settings(max_examples=150, deadline=None)
@given(MASKS, st.sampled_from([6, 18, 26]))
def test_labels_and_their_order_are_those_of_the_whole_volume(mask, connectivity):
    expected, expected_count = label_components(np.ascontiguousarray(mask), connectivity)
    labels, count = labelled(SparseMask.of(mask), connectivity)
    assert count == expected_count
    np.testing.assert_array_equal(labels, expected)


@settings(max_examples=60, deadline=None)
@given(MASKS, st.sampled_from([6, 18, 26]))
def test_many_runs_are_left_to_cc3d_with_the_same_result(mask, connectivity):
    runs = SparseMask.of(mask).labels(connectivity)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_sparse, "_MANY", -1)
        whole = SparseMask.of(mask).labels(connectivity)
    np.testing.assert_array_equal(runs[0], whole[0])
    assert runs[1] == whole[1]


@settings(max_examples=60, deadline=None)
@given(MASKS, st.permutations([0, 1, 2]))
def test_any_layout_in_memory_lists_the_same_voxels(mask, axes):
    for view in (np.asfortranarray(mask), mask.transpose(axes), mask[::-1, :, ::-1], mask.astype(np.float32) * 7):
        found = SparseMask.of(view)
        np.testing.assert_array_equal(found.at, np.flatnonzero(np.ascontiguousarray(view)))
        np.testing.assert_array_equal(np.stack(found.coordinates, axis=1), np.argwhere(view))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float64])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 1.0])
def test_few_voxels_and_many_are_found_alike(dtype, share):
    mask = (np.random.default_rng(4).random((19, 17, 23)) < share).astype(dtype) * np.asarray(3, dtype)
    assert mask.size % 8, "what is left of eights is looked at, too"
    np.testing.assert_array_equal(SparseMask.of(mask).at, np.flatnonzero(mask))


@settings(max_examples=60, deadline=None)
@given(MASKS)
def test_a_surface_is_what_erosion_takes(mask):
    inner = ndimage.binary_erosion(mask) if mask.size else mask
    np.testing.assert_array_equal(SparseMask.of(mask).surface().at, np.flatnonzero(mask & ~inner))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_shared_voxels_are_found_in_both(seed):
    first, second = np.random.default_rng(seed).random((2, 4, 3, 5)) < 0.3
    here, there = SparseMask.of(first).places_in(SparseMask.of(second))
    np.testing.assert_array_equal(SparseMask.of(first).at[here], np.flatnonzero(first & second))
    np.testing.assert_array_equal(SparseMask.of(second).at[there], np.flatnonzero(first & second))


def test_rows_do_not_run_on_into_the_next():
    # ..#   The last voxel of a row and the first of the next are no neighbours,
    # #..   nor are those of the last row of a plane and the first of the next.
    mask = np.zeros((2, 2, 3), bool)
    mask[0, 0, 2] = mask[0, 1, 0] = mask[0, 1, 2] = mask[1, 0, 0] = True
    assert SparseMask.of(mask).labels(6)[1] == 3
    assert SparseMask.of(mask).labels(26)[1] == 2


def test_the_box_is_the_smallest_that_holds_all():
    first, second = np.zeros((2, 5, 6, 7), bool)
    first[1, 2, 3] = second[3, 2, 5] = True
    masks = SparseMask.of(first), SparseMask.of(second)
    box = bounding_box(*masks)
    assert box == (slice(1, 4), slice(2, 3), slice(3, 6))
    np.testing.assert_array_equal(masks[1].dense(box), second[box])
    assert bounding_box(SparseMask.of(first & False)) == (slice(0, 0),) * 3
    assert bounding_box(SparseMask.of(first & False), masks[0]) == bounding_box(masks[0])


def test_another_connectivity_is_refused():
    with pytest.raises(ValueError, match="must be 6, 18 or 26, found 8"):
        SparseMask.of(np.ones((2, 2, 2), bool)).labels(8)  # type: ignore[arg-type]

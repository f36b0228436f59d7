"""Lesions as connected components: by hand, against scipy, by properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from lesionseg.metrics import component_sizes, component_volumes, label_components, remove_small, voxel_volume

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


def test_26_is_the_default_and_labels_are_int32():
    labels, count = label_components(cubes_meeting_at(2, 2, 2))
    assert (count, labels.dtype) == (1, np.int32)


@pytest.mark.parametrize("empty", [np.zeros((3, 4, 5)), np.zeros((0, 4, 5), dtype=bool)])
def test_an_empty_mask_has_no_lesion(empty):
    labels, count = label_components(empty)
    assert count == 0
    assert labels.shape == empty.shape
    assert not labels.any()
    assert component_volumes(labels, count, 1.0).shape == (0,)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64, np.float32])
def test_every_voxel_other_than_zero_is_lesion(dtype):
    mask = np.zeros((1, 1, 6), dtype=dtype)
    mask[0, 0] = [1, 2, 0, 3, 3, 0]
    labels, count = label_components(mask)
    assert count == 2
    np.testing.assert_array_equal(labels[0, 0], [1, 1, 0, 2, 2, 0])


def test_the_volume_does_not_wrap_around():
    mask = np.zeros((5, 5, 5), dtype=bool)
    mask[0], mask[-1] = True, True
    assert label_components(mask)[1] == 2


@pytest.mark.parametrize("shape", [(4, 4), (1, 2, 3, 4)])
def test_a_mask_that_is_not_3d_is_refused(shape):
    with pytest.raises(ValueError, match=rf"must be 3D, found shape \({shape[0]}, {shape[1]}"):
        label_components(np.zeros(shape))


def test_another_connectivity_is_refused():
    with pytest.raises(ValueError, match="must be 6, 18 or 26, found 8"):
        label_components(np.zeros((2, 2, 2)), 8)  # type: ignore[arg-type]


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


@settings(max_examples=40, deadline=None)
@given(MASKS, st.permutations([0, 1, 2]), st.sampled_from([6, 18, 26]))
def test_memory_order_does_not_matter(mask, axes, connectivity):
    count = label_components(mask, connectivity)[1]
    padded = np.zeros(tuple(2 * side for side in mask.shape), dtype=bool)
    padded[::2, ::2, ::2] = mask
    for view in (mask.transpose(axes), mask[::-1, :, ::-1], np.asfortranarray(mask), padded[::2, ::2, ::2]):
        labels, found = label_components(view, connectivity)
        assert found == count
        np.testing.assert_array_equal(labels > 0, view)


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


def test_the_mask_that_was_passed_stays_as_it_was():
    mask = np.ones((1, 1, 1), dtype=np.uint8)
    assert not remove_small(mask, 2.0, (1.0, 1.0, 1.0)).any()
    assert mask.all()


@pytest.mark.parametrize("minimum", [-1.0, float("nan"), float("inf")])
def test_an_impossible_minimum_is_refused(minimum):
    with pytest.raises(ValueError, match="must be 0 mm³ or more"):
        remove_small(np.ones((1, 1, 1)), minimum, (1.0, 1.0, 1.0))


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 0.0, 1.0), (1.0, -1.0, 1.0), (1.0, float("nan"), 1.0)])
def test_an_impossible_spacing_is_refused(spacing):
    with pytest.raises(ValueError, match="three positive lengths in mm"):
        voxel_volume(spacing)

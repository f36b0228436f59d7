"""Grids and resampling: by linear fields, which trilinear interpolation reproduces exactly, and by scipy."""

import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.affines import apply_affine
from scipy import ndimage

from lesionseg.data.dataset import MaskFile
from lesionseg.data.nifti import (
    Grid,
    UnreadableScanError,
    dicom_fault,
    read_labels,
    read_mask,
    read_volume,
    resample,
    write_volume,
)


def grid_of(shape, spacing, degrees=(0.0, 0.0, 0.0), axes=(0, 1, 2), flips=(1, 1, 1)) -> Grid:
    """Around (3, -7, 11) mm, turned about x, y and z in that order, its voxel axes permuted and flipped."""
    turned = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        plane = [other for other in range(3) if other != axis]
        rotation = np.eye(3)
        rotation[np.ix_(plane, plane)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        turned = rotation @ turned
    affine = np.eye(4)
    affine[:3, :3] = turned[:, list(axes)] * np.array(flips) * np.array(spacing)
    affine[:3, 3] = np.array([3, -7, 11]) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


GRIDS = {
    "upright": grid_of((7, 8, 9), (1, 1, 1)),
    "anisotropic": grid_of((12, 9, 4), (0.7, 1.3, 4.0)),
    "flipped": grid_of((7, 8, 9), (1, 1, 2), flips=(-1, -1, 1)),
    "permuted": grid_of((4, 9, 12), (3, 1, 1), axes=(2, 0, 1), flips=(1, -1, 1)),
    "oblique": grid_of((8, 7, 10), (1, 1.5, 1), (12, -20, 7)),
    "oblique, permuted and flipped": grid_of((6, 11, 8), (2, 0.9, 1.1), (-9, 14, 25), (1, 2, 0), (-1, 1, -1)),
}  # fmt: skip
EACH = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())


def places(grid: Grid) -> np.ndarray[Any, Any]:
    """The world coordinates of every voxel, (X, Y, Z, 3), in mm."""
    return apply_affine(grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1))


def centre(grid: Grid) -> np.ndarray[Any, Any]:
    return apply_affine(grid.affine, (np.array(grid.shape) - 1) / 2)


def field(grid: Grid) -> np.ndarray[Any, Any]:
    """A quantity that rises linearly through the world: a volume that says where its voxels are."""
    return 50 + places(grid) @ [1.0, -2.0, 0.5]


@EACH
def test_canonical_is_nibabels(grid):
    volume = field(grid)
    expected = nib.as_closest_canonical(nib.Nifti1Image(volume, grid.affine))
    canonical = grid.canonical()
    assert canonical.shape == expected.shape
    np.testing.assert_allclose(canonical.affine, expected.affine, atol=1e-12)
    np.testing.assert_allclose(resample(volume, grid, canonical), expected.get_fdata(), rtol=1e-6)


@EACH
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 0.5, 1.7), (40.0, 40.0, 40.0)])
def test_another_spacing_has_the_same_centre_directions_and_field_of_view(grid, spacing):
    other = grid.with_spacing(spacing)
    assert other.spacing == pytest.approx(spacing)
    np.testing.assert_allclose(centre(other), centre(grid), atol=1e-9)
    np.testing.assert_allclose(other.affine[:3, :3] / other.spacing, grid.affine[:3, :3] / grid.spacing, atol=1e-12)
    length, old = np.array(other.shape) * spacing, np.array(grid.shape) * grid.spacing
    assert np.all((np.abs(length - old) <= np.array(spacing) / 2 + 1e-9) | (np.array(other.shape) == 1))


def test_same_means_to_a_hundredth_of_a_voxel_at_every_corner():
    grid = GRIDS["oblique"]
    shifted = [Grid(grid.shape, grid.affine.copy()) for _ in range(3)]
    shifted[0].affine[0, 3] += 0.009
    shifted[1].affine[0, 3] += 0.011
    shifted[2].affine[:3, 0] *= 1 + 0.02 / 7  # 0.02 voxels at the far end, 0 at the near one
    assert [grid.same_as(other) for other in (grid, *shifted)] == [True, True, False, False]
    assert not grid.same_as(Grid((8, 7, 9), grid.affine))


@EACH
@pytest.mark.parametrize("target", GRIDS.values(), ids=GRIDS.keys())
def test_a_linear_field_is_the_same_field_on_any_grid(grid, target):
    moved = resample(field(grid), grid, target)
    index = apply_affine(np.linalg.inv(grid.affine), places(target))
    inside = np.all((index >= 0) & (index <= np.array(grid.shape) - 1), axis=-1)
    outside = np.any((index <= -1) | (index >= np.array(grid.shape)), axis=-1)
    assert inside.any()
    np.testing.assert_allclose(moved[inside], field(target)[inside], rtol=1e-5)
    assert np.all(moved[outside] == 0)
    assert moved.dtype == np.float32
    assert moved.shape == target.shape


@EACH
@pytest.mark.parametrize("target", GRIDS.values(), ids=GRIDS.keys())
def test_resampling_is_scipys_interpolation_in_a_surrounding_of_zeros(grid, target):
    volume = np.random.default_rng(0).normal(size=grid.shape)
    index = np.moveaxis(apply_affine(np.linalg.inv(grid.affine), places(target)), -1, 0)
    expected = ndimage.map_coordinates(np.pad(volume, 2), index + 2, order=1)
    np.testing.assert_allclose(resample(volume, grid, target), expected, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([-1, 1])] * 3), st.integers(0, 2))
def test_turned_there_and_back_is_the_very_same_volume(axes, flips, angle):
    grid = grid_of((3, 4, 5), (1, 2, 3), (8.0 * angle, 5.0 * angle, 0))
    volume = np.random.default_rng(1).normal(size=grid.shape).astype(np.float32)
    turned = grid.affine.copy()
    turned[:3, :3] = grid.affine[:3, list(axes)] * flips
    shape = tuple(grid.shape[axis] for axis in axes)
    start = [0 if flips[k] > 0 else grid.shape[axis] - 1 for k, axis in enumerate(axes)]
    for k, axis in enumerate(axes):
        turned[:3, 3] += grid.affine[:3, axis] * start[k]
    target = Grid(shape, turned)  # type: ignore[arg-type]
    there = resample(volume, grid, target)
    np.testing.assert_allclose(places(target).min((0, 1, 2)), places(grid).min((0, 1, 2)), atol=1e-9)
    assert there.flags.c_contiguous
    np.testing.assert_array_equal(resample(there, target, grid), volume)
    flipped = np.transpose(volume, axes)[tuple(slice(None, None, flip) for flip in flips)]
    np.testing.assert_array_equal(there, flipped)


def test_a_mask_in_the_outermost_slice_keeps_its_thickness():
    grid = Grid((1, 1, 3), np.diag([1.0, 1.0, 3.0, 1.0]))
    finer = Grid((1, 1, 15), np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -4], [0, 0, 0, 1.0]]))
    mask = resample(np.array([[[1, 0, 1]]]), grid, finer)[0, 0] >= 0.5
    # slices of 3 mm around 0, 3 and 6 mm are 1 mm voxels at -1 ... 1, 2 ... 4 and 5 ... 7
    np.testing.assert_array_equal(np.arange(15)[mask] - 4, [-1, 0, 1, 5, 6, 7])
    whole = grid.with_spacing((1.0, 1.0, 1.0))
    assert whole.shape == (1, 1, 9)
    assert resample(np.ones((1, 1, 3)), grid, whole).min() >= 0.5


AFFINE = np.array([[0, -1, 0, 5], [2, 0, 0, -3], [0, 0, 3, 7], [0, 0, 0, 1.0]])


def test_voxels_come_as_stored_with_their_affine(tmp_path, write_scan):
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    data, grid = read_volume(write_scan(tmp_path / "a.nii.gz", voxels, AFFINE))
    np.testing.assert_array_equal(data, voxels)
    np.testing.assert_array_equal(grid.affine, AFFINE)
    assert (data.dtype, grid.shape, grid.affine.dtype) == (np.int16, (2, 3, 4), np.float64)


def test_the_headers_scaling_is_applied(tmp_path):
    image = nib.Nifti1Image(np.arange(8, dtype=np.int16).reshape(2, 2, 2), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nib.save(image, tmp_path / "a.nii")
    stored = nib.load(tmp_path / "a.nii")
    np.testing.assert_array_equal(stored.dataobj.get_unscaled().ravel(), np.arange(8))
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii")[0].ravel(), 10 + np.arange(8) / 2)


@pytest.mark.parametrize("shape", [(2, 3, 4, 1), (2, 3, 4, 1, 1)])
def test_further_axes_of_length_1_are_dropped(tmp_path, write_scan, shape):
    voxels = np.arange(24, dtype=np.int16).reshape(shape)
    data, grid = read_volume(write_scan(tmp_path / "a.nii", voxels))
    assert grid.shape == (2, 3, 4)
    np.testing.assert_array_equal(data, voxels.reshape(2, 3, 4))


def test_a_mask_that_is_whole_but_for_rounding_is_read_as_whole(tmp_path, write_scan):
    voxels = np.zeros((4, 4, 4), np.float32)
    voxels[1, 1, 1], voxels[2, 2, 2] = 0.99999, 1e-5
    path = write_scan(tmp_path / "m.nii", voxels)
    assert (
        read_labels(path)[0].sum() == read_mask(MaskFile(path))[0].sum() == read_mask(MaskFile(path, 1))[0].sum() == 1
    )
    voxels[2, 2, 2] = 0.5
    assert read_labels(write_scan(path, voxels))[0].max() < 1


def huge(path):
    with path.open("r+b") as stream:
        stream.seek(42)  # dim[1:4] of a NIfTI-1 header
        stream.write(np.full(3, 32000, "<i2").tobytes())
    return path


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("micron", 1000), ("meter", 0.001), ("unknown", 1)])
def test_the_unit_of_the_header_counts(unit, factor, tmp_path):
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.diag([2 * factor, factor, 3 * factor, 1]))
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii")[1].spacing == pytest.approx((2, 1, 3))


def damaged(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda p, w: p / "gone.nii", "there is no such file"),
        (lambda p, w: w(p / "a.nii", np.zeros((2, 3, 4, 2))), "it is 4D, of shape (2, 3, 4, 2), not 3D"),
        (lambda p, w: w(p / "a.nii", np.zeros((2, 3))), "it is 2D, of shape (2, 3), not 3D"),
        (lambda p, w: w(p / "a.nii", np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])), "its voxels are"),
        (lambda p, w: damaged(p / "a.nii", b"no scan"), "it cannot be read to its end ("),
        (lambda p, w: damaged(p / "a.nii.gz", b"no scan"), "it cannot be read to its end ("),
        (lambda p, w: damaged(p / "a.nii", b""), "it cannot be read to its end ("),
        (lambda p, w: w(p / "a.nii").rename(p / "a.nii.gz"), "it is not gzipped; rename it to a.nii"),
        (lambda p, w: w(p / "a.nii", affine=np.diag([1, 1, 31, 1])), "its voxels measure 1 × 1 × 31 mm"),
        (lambda p, w: huge(w(p / "a.nii")), "its header says (32000, 32000, 32000) voxels"),
        (lambda p, w: damaged(p / "b.nii", w(p / "a.nii").read_bytes()[:-9]), "it cannot be read to its end ("),
        (lambda p, w: damaged(p / "b.nii.gz", w(p / "a.nii.gz").read_bytes()[:900]), "it cannot be read to its end ("),
    ],
)
def test_what_is_no_scan_is_refused(tmp_path, write_scan, make, fault):
    with pytest.raises(UnreadableScanError) as caught:
        read_volume(make(tmp_path, write_scan))
    assert str(caught.value).startswith(fault)


@pytest.mark.parametrize(
    "affine", [np.diag([1, 0.001, 1, 1]), np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])]
)
def test_an_affine_without_size_is_refused(affine, tmp_path, write_scan):
    image = nib.load(write_scan(tmp_path / "a.nii"), mmap=False)
    image.header.set_sform(affine, code=1)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), tmp_path / "a.nii")
    with pytest.raises(UnreadableScanError, match="gives the voxels no size in mm"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lambda content: content[:-4], "ended before the end-of-stream marker"),
        (lambda content: content[:-8] + bytes(4) + content[-4:], "CRC check failed"),
    ],
)
def test_strict_reads_to_the_checksum(tmp_path, write_scan, damage, found):
    path = damaged(tmp_path / "b.nii.gz", damage(write_scan(tmp_path / "a.nii.gz").read_bytes()))
    read_volume(path)  # every voxel is there
    with pytest.raises(UnreadableScanError, match=found):
        read_volume(path, strict=True)


def test_a_rotation_is_measured_where_it_moves_most():
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(0.001), -np.sin(0.001)], [np.sin(0.001), np.cos(0.001)]]
    one, other = Grid((101, 201, 5), np.eye(4)), Grid((101, 201, 5), turned)
    assert one.displacement(one) == 0
    assert one.displacement(other) == pytest.approx(2 * np.sin(0.0005) * np.hypot(100, 200))


@pytest.mark.parametrize(("shift", "overlaps"), [(6.9, True), (7.1, False), (-6.9, True), (-7.1, False)])
def test_fields_of_view_overlap_up_to_the_faces_of_their_outermost_voxels(shift, overlaps):
    moved = np.diag([-1.0, 1, 1, 1])  # from 6.5 down to -0.5
    moved[0, 3] = 6 + shift
    assert Grid((7, 8, 9), np.eye(4)).overlaps(Grid((7, 8, 9), moved)) is overlaps


def test_a_mask_is_every_voxel_other_than_zero_or_one_label_alone(tmp_path, write_scan):
    path = write_scan(tmp_path / "a.nii", np.array([[[0, 1, 2, 5, 2]]], dtype=np.uint8), AFFINE)
    for label, expected in ((None, [0, 1, 1, 1, 1]), (2, [0, 0, 1, 0, 1]), (7, [0, 0, 0, 0, 0])):
        mask, grid = read_mask(MaskFile(path, label))
        np.testing.assert_array_equal(mask.ravel(), expected)
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(grid.affine, AFFINE)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("name", ["deep/a.nii.gz", "a.nii"])
def test_a_written_volume_reads_back_in_its_own_type_and_place(tmp_path, dtype, name):
    volume = np.random.default_rng(0).integers(0, 2, (4, 3, 2)).astype(dtype) * dtype(1)
    path = tmp_path / name
    write_volume(path, volume, Grid((4, 3, 2), AFFINE))
    data, grid = read_volume(path)
    np.testing.assert_array_equal(data, volume)
    np.testing.assert_allclose(grid.affine, AFFINE)
    header = nib.load(path).header
    assert header.get_data_dtype() == dtype
    assert header.get_xyzt_units()[0] == "mm"
    assert os.listdir(path.parent) == [path.name]


def test_dicom_is_known_by_its_mark_or_name_and_only_where_there_is_no_nifti(tmp_path):
    (tmp_path / "series").mkdir()
    assert dicom_fault(tmp_path) is None
    (tmp_path / "series" / "IM1").write_bytes(bytes(128) + b"DICM" + bytes(10))
    (tmp_path / "b.dcm").touch()
    for path in (tmp_path, tmp_path / "series", tmp_path / "series" / "IM1", tmp_path / "b.dcm"):
        assert "convert it first" in str(dicom_fault(path))
    (tmp_path / "scan.nii.gz").touch()
    assert dicom_fault(tmp_path) is None
    assert dicom_fault(tmp_path / "scan.nii.gz") is None

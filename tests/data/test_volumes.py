import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from lesionseg.data.dataset import MaskFile
from lesionseg.data.nifti import Grid, read_mask, read_volume, write_volume

AFFINE = np.array([[0, -1, 0, 5], [2, 0, 0, -3], [0, 0, 3, 7], [0, 0, 0, 1.0]])


def test_voxels_come_as_stored_with_their_affine(tmp_path: Path, write_scan) -> None:
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    data, grid = read_volume(write_scan(tmp_path / "a.nii.gz", voxels, AFFINE))
    np.testing.assert_array_equal(data, voxels)
    np.testing.assert_array_equal(grid.affine, AFFINE)
    assert (data.dtype, grid.shape, grid.affine.dtype) == (np.float32, (2, 3, 4), np.float64)


def test_the_headers_scaling_is_applied(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(8, dtype=np.int16).reshape(2, 2, 2), np.eye(4))
    image.header.set_slope_inter(0.5, 10)
    nib.save(image, tmp_path / "a.nii")
    stored = nib.load(tmp_path / "a.nii")
    np.testing.assert_array_equal(stored.dataobj.get_unscaled().ravel(), np.arange(8))
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii")[0].ravel(), 10 + np.arange(8) / 2)


@pytest.mark.parametrize("shape", [(2, 3, 4, 1), (2, 3, 4, 1, 1)])
def test_further_axes_of_length_1_are_dropped(tmp_path: Path, write_scan, shape) -> None:
    voxels = np.arange(24, dtype=np.int16).reshape(shape)
    data, grid = read_volume(write_scan(tmp_path / "a.nii", voxels))
    assert grid.shape == (2, 3, 4)
    np.testing.assert_array_equal(data, voxels.reshape(2, 3, 4))


@pytest.mark.parametrize("shape", [(2, 3, 4, 2), (2, 3)])
def test_what_is_not_3d_is_refused(tmp_path: Path, write_scan, shape) -> None:
    path = write_scan(tmp_path / "a.nii", np.zeros(shape, np.int16))
    with pytest.raises(ValueError, match="3D volume") as caught:
        read_volume(path)
    assert str(caught.value) == f"{path}: a 3D volume is wanted, found shape {shape}"


def test_a_mask_is_every_voxel_other_than_zero_or_one_label_alone(tmp_path: Path, write_scan) -> None:
    path = write_scan(tmp_path / "a.nii", np.array([[[0, 1, 2, 5, 2]]], dtype=np.uint8), AFFINE)
    for label, expected in ((None, [0, 1, 1, 1, 1]), (2, [0, 0, 1, 0, 1]), (7, [0, 0, 0, 0, 0])):
        mask, grid = read_mask(MaskFile(path, label))
        np.testing.assert_array_equal(mask.ravel(), expected)
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(grid.affine, AFFINE)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("name", ["deep/a.nii.gz", "a.nii"])
def test_a_written_volume_reads_back_in_its_own_type_and_place(tmp_path: Path, dtype, name: str) -> None:
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

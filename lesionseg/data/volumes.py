"""Reading NIfTI volumes and writing them whole."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from lesionseg.data.files import written_whole
from lesionseg.data.grid import Array, Grid
from lesionseg.data.study import MaskFile


def read_volume(path: Path) -> tuple[Array, Grid]:
    """The voxels, (X, Y, Z) as stored and scaled to float32, and their grid.

    Further axes of length 1 are dropped.

    Raises:
        ValueError: the file is not three-dimensional.
    """
    image: Any = nib.load(path)
    data = np.asarray(image.dataobj, dtype=np.float32)
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise ValueError(f"{path}: a 3D volume is wanted, found shape {data.shape}")
    x, y, z = data.shape
    return data, Grid((x, y, z), np.asarray(image.affine, dtype=float))


def read_mask(mask: MaskFile) -> tuple[Array, Grid]:
    """The mask as uint8 of 0 and 1, (X, Y, Z) as stored, and its grid."""
    data, grid = read_volume(mask.path)
    inside = data != 0 if mask.label is None else data == mask.label
    return inside.astype(np.uint8), grid


def write_volume(path: Path, volume: Array, grid: Grid) -> None:
    """Write a NIfTI file in the volume's own type, whole or not at all."""
    image = nib.Nifti1Image(volume, grid.affine)
    image.header.set_xyzt_units("mm")
    with written_whole(path) as partial:
        nib.save(image, partial)

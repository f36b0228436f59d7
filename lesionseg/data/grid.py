"""Voxel grids: canonical orientation, working spacing, and the way back to the scanner's grid."""

from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from nibabel.processing import resample_from_to

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Grid:
    """The shape of a volume (X, Y, Z) and its affine (4 × 4, voxel index to world mm)."""

    shape: tuple[int, int, int]
    affine: Array

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel edge lengths in mm."""
        x, y, z = (float(size) for size in voxel_sizes(self.affine))
        return x, y, z

    def canonical(self) -> "Grid":
        """The same voxels with axes towards right, anterior and superior, as near as flips and swaps allow."""
        orientation = io_orientation(self.affine)
        order = np.argsort(orientation[:, 0])
        x, y, z = (int(self.shape[axis]) for axis in order)
        return Grid((x, y, z), self.affine @ inv_ornt_aff(orientation, self.shape))

    def with_spacing(self, spacing: tuple[float, float, float]) -> "Grid":
        """The same centre and, to half a voxel, the same field of view at another voxel size in mm.

        The grid itself if it has that size already, to a thousandth.
        """
        if np.allclose(self.spacing, spacing, rtol=1e-3):
            return self
        x, y, z = (
            max(1, round(size * old / new)) for size, old, new in zip(self.shape, self.spacing, spacing, strict=True)
        )
        affine = self.affine.copy()
        affine[:3, :3] = self.affine[:3, :3] / self.spacing * spacing
        middles = [(np.array(shape) - 1) / 2 for shape in (self.shape, (x, y, z))]
        affine[:3, 3] += self.affine[:3, :3] @ middles[0] - affine[:3, :3] @ middles[1]
        return Grid((x, y, z), affine)

    def crop(self, box: tuple[slice, slice, slice]) -> "Grid":
        """The part of the grid inside a box of voxels."""
        start = [side.start for side in box]
        affine = self.affine.copy()
        affine[:3, 3] = self.affine[:3, :3] @ start + self.affine[:3, 3]
        x, y, z = (side.stop - side.start for side in box)
        return Grid((x, y, z), affine)

    def same_as(self, other: "Grid") -> bool:
        """Whether no corner lies further from the other grid's than a hundredth of a voxel."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*([0, size - 1] for size in self.shape))).reshape(3, -1)
        moved = np.linalg.inv(other.affine) @ self.affine
        shift = moved[:3, :3] @ corners + moved[:3, 3:] - corners
        return bool(np.linalg.norm(shift, axis=0).max() < 0.01)


def resample(volume: Array, grid: Grid, target: Grid) -> Array:
    """A volume on another grid: flips and swaps where these do, else trilinear; 0 outside. Returns float32.

    The outermost voxels fade to that 0 within one voxel, half of which is their own: a mask cut at one half
    reaches to the edge of the field of view and no further, thick slices included.
    """
    canonical = grid.canonical()
    if canonical.same_as(target.canonical()):
        turned = ornt_transform(io_orientation(grid.affine), io_orientation(target.affine))
        return np.ascontiguousarray(apply_orientation(volume, turned), dtype=np.float32)
    image = nib.Nifti1Image(np.asarray(volume, dtype=np.float32), grid.affine)
    moved = resample_from_to(image, (target.shape, target.affine), order=1, mode="grid-constant", cval=0.0)
    return np.asarray(moved.dataobj, dtype=np.float32)

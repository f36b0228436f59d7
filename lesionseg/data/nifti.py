"""Voxel grids: canonical orientation, working spacing, and the way back to the scanner's grid."""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from nibabel.processing import resample_from_to
from nibabel.spatialimages import HeaderDataError

from lesionseg.data.dataset import MaskFile
from lesionseg.io import written_whole

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


_CHUNK = 1 << 20

_SMALLEST_EDGE_MM = 0.01  # a header in metres says 0.001


class UnreadableScanError(Exception):
    """A file that is no complete 3D scan; the message says why and how to mend it."""


@dataclass(frozen=True)
class Scan:
    """A 3D volume and where it lies.

    Args:
        path: the file it was read from.
        voxels: shape (X, Y, Z) as stored, real numbers of the file's own type, scaled as its header says.
        grid: its shape and affine.
    """

    path: Path
    voxels: Array
    grid: Grid

    @property
    def axes(self) -> str:
        """Where each axis points to, such as ``RAS`` or ``LPS``."""
        return "".join(nib.aff2axcodes(self.grid.affine))


def read_scan(path: Path) -> Scan:
    """Read all of a NIfTI file; dimensions of length 1 after the third are dropped.

    A compressed file is also read to its end and held against its checksum, so that one cut off or damaged
    anywhere is found.

    Raises:
        UnreadableScanError: the file is missing, no NIfTI, truncated, damaged, not 3D or empty, its voxels
            are not real numbers, or its affine gives them no place or size.
    """
    if not path.is_file():
        raise UnreadableScanError("there is no such file; correct the dataset's patterns or put the file there")
    try:
        if path.suffix == ".gz":
            _read_to_the_end(path)
        image = nib.load(path, mmap=False)
        voxels = np.asanyarray(image.dataobj)
    except (EOFError, OSError, ValueError, zlib.error, ImageFileError, HeaderDataError) as error:
        raise UnreadableScanError(
            f"it cannot be read to its end ({str(error).strip()}); it is truncated, damaged or no NIfTI: "
            "copy or convert it again from its source"
        ) from error
    voxels = _as_volume(voxels)
    affine = np.asarray(image.affine, dtype=np.float64)
    if not _has_size(affine):
        raise UnreadableScanError(
            f"its affine {affine[:3].tolist()} gives the voxels no size in mm; convert the scan again from its source"
        )
    x, y, z = voxels.shape
    return Scan(path, voxels, Grid((x, y, z), affine))


def _has_size(affine: Array) -> bool:
    """Whether an affine spans three directions with edges that a scanner's voxels can have."""
    if not np.isfinite(affine).all():
        return False
    edges = voxel_sizes(affine)
    if edges.min() < _SMALLEST_EDGE_MM:
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / edges)) > 1e-3)


def _read_to_the_end(path: Path) -> None:
    """Let gzip compare length and checksum, which nibabel does not reach."""
    with gzip.open(path) as file:
        while file.read(_CHUNK):
            pass


def _as_volume(voxels: Array) -> Array:
    """The voxels as a 3D array of real numbers."""
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim != 3:
        raise UnreadableScanError(
            f"it is {voxels.ndim}D, of shape {voxels.shape}, not 3D; save the one volume that counts as a "
            "file of its own"
        )
    if voxels.size == 0:
        raise UnreadableScanError(f"it has no voxel (shape {voxels.shape}); convert it again from its source")
    if voxels.dtype.kind not in "buif":
        raise UnreadableScanError(
            f"its voxels are of type {voxels.dtype}, no real numbers; save one grey value for each voxel"
        )
    return voxels

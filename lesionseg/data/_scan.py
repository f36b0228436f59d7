"""A NIfTI file read to its last byte."""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from lesionseg.data.grid import Array, Grid

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

"""NIfTI files and their voxel grids: the one reader and writer, resampling from grid to grid."""

import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
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
_SMALLEST_EDGE_MM, _LARGEST_EDGE_MM = 0.01, 30.0
_MOST_VOXELS = 2**31  # sixteen times a head at 0.35 mm
_ROUNDING = 1e-3
_MOST_LOOKED_AT = 100  # files of a folder that may be DICOM
_IN_MM = {"meter": 1000.0, "micron": 0.001}


class UnreadableScanError(ValueError):
    """A file that is no complete 3D scan; the message says why and how to mend it, but not which file."""


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
        """Return the same voxels with axes towards right, anterior and superior, as near as flips and swaps allow."""
        orientation = io_orientation(self.affine)
        order = np.argsort(orientation[:, 0])
        x, y, z = (int(self.shape[axis]) for axis in order)
        return Grid((x, y, z), self.affine @ inv_ornt_aff(orientation, self.shape))

    def with_spacing(self, spacing: tuple[float, float, float]) -> "Grid":
        """Return the same centre and, to half a voxel, the same field of view at another voxel size in mm.

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
        """Return the part of the grid inside a box of voxels."""
        start = [side.start for side in box]
        affine = self.affine.copy()
        affine[:3, 3] = self.affine[:3, :3] @ start + self.affine[:3, 3]
        x, y, z = (side.stop - side.start for side in box)
        return Grid((x, y, z), affine)

    def displacement(self, other: "Grid") -> float:
        """Return how far apart two grids of one shape put a voxel at most, in voxels of this one.

        The difference of two affine maps is affine, so that it is largest at a corner.
        """
        corners = np.array(np.meshgrid(*([0, size - 1] for size in self.shape))).reshape(3, -1)
        moved = np.linalg.inv(self.affine) @ other.affine
        shift = moved[:3, :3] @ corners + moved[:3, 3:] - corners
        return float(np.linalg.norm(shift, axis=0).max())

    def same_as(self, other: "Grid") -> bool:
        """Return whether shapes agree and no voxel lies further apart than a hundredth of one."""
        return self.shape == other.shape and self.displacement(other) < 0.01

    def overlaps(self, other: "Grid") -> bool:
        """Return whether the boxes along the world's axes around both fields of view have any volume in common."""
        low, high = zip(*(grid.extent() for grid in (self, other)), strict=True)
        return bool((np.maximum(*low) < np.minimum(*high)).all())

    def extent(self) -> tuple[Array, Array]:
        """Return the lowest and the highest world coordinates of the field of view, voxels' faces included, in mm."""
        corners = np.array(np.meshgrid(*([-0.5, size - 0.5] for size in self.shape))).reshape(3, -1)
        world = self.affine[:3, :3] @ corners + self.affine[:3, 3:]
        return world.min(axis=1), world.max(axis=1)

    @property
    def axes(self) -> str:
        """Where each axis points to, such as ``RAS`` or ``LPS``."""
        return "".join(nib.aff2axcodes(self.affine))


def resample(volume: Array, grid: Grid, target: Grid) -> Array:
    """Return a volume on another grid as float32: flips and swaps where these do, else trilinear; 0 outside.

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


def read_volume(path: Path, *, strict: bool = False) -> tuple[Array, Grid]:
    """Read a NIfTI file; dimensions of length 1 after the third are dropped.

    Args:
        path: the file.
        strict: read a compressed file to its end and hold it against its checksum, so that one cut off or damaged
            anywhere is found.

    Returns:
        The voxels (X, Y, Z) as stored, real numbers of the file's own type, scaled as its header says; and their grid
        in mm, whatever unit the header has.

    Raises:
        UnreadableScanError: the file is missing, no NIfTI, truncated, damaged, not 3D or empty, its voxels are not real
            numbers, or its affine gives them no place or size.
    """
    if not path.is_file():
        raise UnreadableScanError("there is no such file; correct the dataset's patterns or put the file there")
    try:
        if strict and path.suffix == ".gz":
            with gzip.open(path) as file:  # compares length and checksum, which nibabel does not reach
                while file.read(1 << 20):
                    pass
        image: Any = nib.load(path, mmap=False)
        if math.prod(image.shape) > _MOST_VOXELS:
            raise UnreadableScanError(f"its header says {image.shape} voxels, more than any scan; convert it again")
        voxels = np.asanyarray(image.dataobj)
        unit = image.header.get_xyzt_units()[0] if isinstance(image, nib.Nifti1Pair) else "mm"
    except UnreadableScanError:
        raise
    except (EOFError, OSError, ValueError, KeyError, zlib.error, ImageFileError, HeaderDataError) as error:
        with path.open("rb") as stream:
            start = stream.read(4)
        if path.suffix == ".gz" and {int.from_bytes(start, "little"), int.from_bytes(start, "big")} & {348, 540}:
            raise UnreadableScanError(f"it is not gzipped; rename it to {path.name.removesuffix('.gz')}") from error
        raise UnreadableScanError(
            f"it cannot be read to its end ({str(error).strip()}); it is truncated, damaged or no NIfTI: "
            "copy or convert it again from its source"
        ) from error
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim != 3:
        raise UnreadableScanError(
            f"it is {voxels.ndim}D, of shape {voxels.shape}, not 3D; save the one volume that counts as a file of its "
            "own"
        )
    if voxels.size == 0:
        raise UnreadableScanError(f"it has no voxel (shape {voxels.shape}); convert it again from its source")
    if voxels.dtype.kind not in "buif":
        raise UnreadableScanError(
            f"its voxels are of type {voxels.dtype}, no real numbers; save one grey value for each voxel"
        )
    x, y, z = voxels.shape
    return voxels, Grid((x, y, z), _affine_in_mm(np.array(image.affine, dtype=float), unit))


def dicom_fault(path: Path) -> str | None:
    """Return what to do with a file of DICOM, or a folder of them without NIfTI; None if it is neither."""
    if path.is_dir() and next(path.rglob("*.nii*"), None):
        return None
    files = (one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    for file in islice(files, _MOST_LOOKED_AT):
        with suppress(OSError), file.open("rb") as stream:
            if file.suffix.lower() == ".dcm" or stream.read(132)[128:] == b"DICM":
                return f"{path}: is DICOM, such as {file.name}; convert it first, as docs/preparing_scans.md tells"
    return None


def _affine_in_mm(affine: Array, unit: str) -> Array:
    affine[:3] *= _IN_MM.get(unit, 1.0)
    edges = voxel_sizes(affine) if np.isfinite(affine).all() else np.zeros(3)
    if not (edges.min() >= _SMALLEST_EDGE_MM and abs(np.linalg.det(affine[:3, :3] / edges)) > 1e-3):
        raise UnreadableScanError(
            f"its affine {affine[:3].tolist()} gives the voxels no size in mm; convert the scan again from its source"
        )
    if edges.max() > _LARGEST_EDGE_MM:
        raise UnreadableScanError(
            f"its voxels measure {' × '.join(f'{edge:g}' for edge in edges)} mm, and {_LARGEST_EDGE_MM:g} mm is the "
            "most; correct the header's voxel size and unit, or convert the scan again from its source"
        )
    return affine


def differing_affines(path: Path) -> tuple[float, bool]:
    """Return how far apart a file's qform and sform put a voxel at most, in voxels, and whether both claim the same
    space; 0 where it has not both."""
    image: Any = nib.load(path)
    if not isinstance(image, nib.Nifti1Pair):
        return 0.0, True
    try:
        (qform, q_code), (sform, s_code) = image.get_qform(coded=True), image.get_sform(coded=True)
    except HeaderDataError:  # quaternions that are none: every program reads the sform
        return 0.0, True
    if qform is None or sform is None:
        return 0.0, True
    x, y, z = image.shape[:3]
    return Grid((x, y, z), sform).displacement(Grid((x, y, z), qform)), bool(q_code == s_code)


def grid_faults(grid: Grid, images: Sequence[tuple[Path, Grid]]) -> Iterator[str]:
    """Say why a mask lies on the grid of none of its study's images; nothing where it does."""
    if not images or any(grid.same_as(own) for _, own in images):
        return
    path, image = images[0]
    if grid.shape != image.shape:
        mine, other = (" × ".join(map(str, shape)) for shape in (grid.shape, image.shape))
        yield (
            f"the mask has the shape {mine}, the image {path} has {other}; resample the mask to the image with nearest "
            "neighbour"
        )
    else:
        yield (
            f"the mask lies up to {image.displacement(grid):.3g} voxels away from the image {path}: their shapes "
            "agree, their affines do not; if it was drawn on this image, copy the image's affine into its header, "
            "otherwise resample it with nearest neighbour"
        )


def read_labels(path: Path, *, strict: bool = False) -> tuple[Array, Grid]:
    """Read a mask as `read_volume` does; values that are whole but for rounding, such as 0.99999 where a program stored
    scaled integers, become whole."""
    voxels, grid = read_volume(path, strict=strict)
    if voxels.dtype.kind == "f":
        whole = np.round(voxels)
        if np.allclose(voxels, whole, rtol=0, atol=_ROUNDING):
            voxels = whole
    return voxels, grid


def read_mask(mask: MaskFile) -> tuple[Array, Grid]:
    """Return the mask as uint8 of 0 and 1, (X, Y, Z) as stored, and its grid."""
    voxels, grid = read_labels(mask.path)
    inside = voxels != 0 if mask.label is None else voxels == mask.label
    return inside.astype(np.uint8), grid


def write_volume(path: Path, volume: Array, grid: Grid, like: Path | None = None) -> None:
    """Write a NIfTI file in the volume's own type, whole or not at all; with qform, sform and their codes as those of
    a file on the same grid, if one is named."""
    image = nib.Nifti1Image(volume, grid.affine)
    if like is not None:
        header: Any = nib.load(like).header
        if header.get_xyzt_units()[0] in ("mm", "unknown"):
            for name in ("qform", "sform"):
                affine, code = getattr(header, f"get_{name}")(coded=True)
                getattr(image, f"set_{name}")(affine, int(code))
    image.header.set_xyzt_units("mm")
    with written_whole(path) as partial:
        nib.save(image, partial)

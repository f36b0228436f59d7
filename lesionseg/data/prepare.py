"""One study made ready for a network: canonical, resampled, cropped to the brain, normalised."""

from dataclasses import dataclass

import numpy as np

from lesionseg.data.brain import bounding_box, brain_mask, zscore
from lesionseg.data.grid import Array, Grid, resample
from lesionseg.data.selection import TaskStudy
from lesionseg.data.volumes import read_mask, read_volume
from lesionseg.metrics.components import label_components

NORMALISATION = "zscore_brain"
_MARGIN = 2


@dataclass(frozen=True)
class Prepared:
    """A study's arrays on the working grid.

    Args:
        images: (sources, X, Y, Z), each z-scored inside its own brain mask, 0 outside; float16.
        mask: (X, Y, Z) uint8; None without a reference.
        lesion_voxels: (voxels, 3) int16 indices, lesion after lesion.
        lesion_starts: (lesions + 1,) where each lesion's voxels begin, and their number at the end.
        grid: the cropped working grid.
        native: the grid of the mask, or of the first image: where predictions go back to.
    """

    images: Array
    mask: Array | None
    lesion_voxels: Array
    lesion_starts: Array
    grid: Grid
    native: Grid


def prepare(study: TaskStudy, spacing: tuple[float, float, float]) -> Prepared:
    """Read a study's files and bring them to one grid.

    The grid is that of the first image, in canonical orientation and at the working spacing; every other image,
    those of the prior session too, is brought there through its affine. A mask is resampled linearly and cut at
    one half.
    """
    _, first_path = study.sources[0]
    first, first_grid = read_volume(first_path)
    whole = first_grid.canonical().with_spacing(spacing)
    brain = resample(brain_mask(first).astype(np.float32), first_grid, whole) > 0.5
    box = bounding_box(brain, _MARGIN)
    images = []
    for index, (source, path) in enumerate(study.sources):
        volume, grid = (first, first_grid) if index == 0 else read_volume(path)
        inside = brain_mask(volume)
        try:
            normalised = zscore(volume, inside)
        except ValueError as error:
            raise ValueError(f"{study.name}, {source} ({path}): {error}") from error
        images.append(resample(normalised, grid, whole)[box].astype(np.float16))
    mask, native = None, first_grid
    if study.mask is not None:
        reference, native = read_mask(study.mask)
        mask = (resample(reference, native, whole)[box] >= 0.5).astype(np.uint8)
    voxels, starts = _lesion_voxels(mask)
    return Prepared(np.stack(images), mask, voxels, starts, whole.crop(box), native)


def to_native(probability: Array, grid: Grid, native: Grid) -> Array:
    """A map on the working grid brought back to the scan's own, trilinear; float32, 0 outside the brain's box."""
    if native.canonical().with_spacing(grid.spacing).same_as(native.canonical()):
        return _paste(probability, grid, native)
    return resample(probability, grid, native)


def _paste(probability: Array, grid: Grid, native: Grid) -> Array:
    """As ``to_native``; without interpolation where the working grid is the native one, turned and cropped."""
    canonical = native.canonical()
    start = np.linalg.solve(canonical.affine, grid.affine[:, 3])[:3]
    x, y, z = (slice(int(at), int(at) + size) for at, size in zip(np.round(start), probability.shape, strict=True))
    box = (x, y, z)
    inside = all(side.start >= 0 and side.stop <= size for side, size in zip(box, canonical.shape, strict=True))
    if not (inside and canonical.crop(box).same_as(grid)):
        return resample(probability, grid, native)
    whole = np.zeros(canonical.shape, dtype=np.float32)
    whole[box] = probability
    return resample(whole, canonical, native)


def _lesion_voxels(mask: Array | None) -> tuple[Array, Array]:
    """The voxels of every lesion (26-connected), sorted by lesion, and where each lesion starts."""
    if mask is None:
        return np.zeros((0, 3), np.int16), np.zeros(1, np.int64)
    labels, count = label_components(mask, 26)
    voxels = np.argwhere(labels > 0)
    owner = labels[tuple(voxels.T)]
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(1, count + 2))
    return voxels[order].astype(np.int16), starts.astype(np.int64)

"""From a study's files to arrays on one grid (canonical, resampled, cropped, z-scored), and back to the scan's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from lesionseg.data.dataset import TaskStudy
from lesionseg.data.nifti import Array, Grid, read_mask, read_volume, resample
from lesionseg.metrics.components import label_components

NORMALISATION = "zscore_brain"

_BACKGROUND_SHARE = 0.2
_MARGIN = 2  # voxels around the brain
_QUANTILES = (1, 5, 25, 50, 75, 95, 99)  # percent
# How far each may lie outside of what was seen: real FLAIR scans of several scanners keep within it, T1 and T2 do not
_INTENSITY_APART = np.array([0.45, 0.35, 0.12, 0.12, 0.12, 0.3, 1.0])
_EDGE_APART, _BRAIN_APART = 1.5, 1.25  # ratios


def brain_mask(volume: Array) -> Array:
    """Return the voxels that belong to the head or brain, bool, same shape.

    In a skull-stripped scan the background has exactly one value, which need not be the lowest (a z-scored brain
    lies on both sides of it): the value most common among the volume's eight corners. If more than a fifth of all
    voxels have it, the brain is what differs from it. Elsewhere it is what lies above the mean, a rule of thumb for
    a head in air.
    """
    values, counts = np.unique(volume[np.ix_([0, -1], [0, -1], [0, -1])], return_counts=True)
    outside = volume == values[counts.argmax()]
    if outside.mean() > _BACKGROUND_SHARE:
        return np.asarray(~outside)
    return np.asarray(volume > volume.mean())


def bounding_box(mask: Array, margin: int = 0) -> tuple[slice, slice, slice]:
    """Return the smallest box around a mask, widened by a margin in voxels within the volume; all of it if empty."""
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found or found[0] is None:
        x, y, z = (slice(0, size) for size in mask.shape)
        return x, y, z
    x, y, z = (
        slice(max(0, side.start - margin), min(size, side.stop + margin))
        for side, size in zip(found[0], mask.shape, strict=True)
    )
    return x, y, z


def zscore(volume: Array, mask: Array) -> Array:
    """Return the volume with zero mean and unit variance over the mask, 0 outside; float32.

    Raises:
        ValueError: nothing inside the mask, or one value alone.
    """
    values = volume[mask]
    deviation = float(values.std()) if values.size else 0.0
    if deviation == 0:
        raise ValueError("the image has no contrast inside the brain")
    return np.where(mask, (volume - values.mean()) / deviation, 0.0).astype(np.float32)


@dataclass(frozen=True)
class Prepared:
    """A study's arrays on the working grid."""

    images: Array  # (sources, X, Y, Z), each z-scored inside its own brain mask, 0 outside; float16
    mask: Array | None  # (X, Y, Z) uint8; None without a reference
    lesion_voxels: Array  # (voxels, 3) int16 indices, lesion after lesion
    lesion_starts: Array  # (lesions + 1,) where each lesion's voxels begin, and their number at the end
    grid: Grid  # the cropped working grid
    native: Grid  # the grid of the mask, or of the first image: where predictions go back to


def prepare(study: TaskStudy, spacing: tuple[float, float, float]) -> Prepared:
    """Read a study's files and bring them to one grid.

    The grid is that of the first image, in canonical orientation and at the working spacing; every other image,
    those of the prior session too, is brought there through its affine. A mask is resampled linearly and cut at
    one half.
    """
    _, first_path = study.sources[0]
    first, first_grid = _read(first_path)
    whole = first_grid.canonical().with_spacing(spacing)
    brain = resample(brain_mask(first).astype(np.float32), first_grid, whole) > 0.5
    box = bounding_box(brain, _MARGIN)
    images = []
    for index, (source, path) in enumerate(study.sources):
        volume, grid = (first, first_grid) if index == 0 else _read(path)
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


def _read(path: Path) -> tuple[Array, Grid]:
    voxels, grid = read_volume(path)
    return voxels.astype(np.float32), grid


def to_native(probability: Array, grid: Grid, native: Grid) -> Array:
    """Return a map on the working grid on the scan's own, trilinear; float32, 0 outside the brain's box.

    Nothing is interpolated where the working grid is the native one, turned and cropped.
    """
    canonical = native.canonical()
    if canonical.with_spacing(grid.spacing).same_as(canonical):
        start = np.round(np.linalg.solve(canonical.affine, grid.affine[:, 3])[:3])
        x, y, z = (slice(int(at), int(at) + size) for at, size in zip(start, probability.shape, strict=True))
        inside = all(
            side.start >= 0 and side.stop <= size for side, size in zip((x, y, z), canonical.shape, strict=True)
        )
        if inside and canonical.crop((x, y, z)).same_as(grid):
            whole = np.zeros(canonical.shape, dtype=np.float32)
            whole[x, y, z] = probability
            return resample(whole, canonical, native)
    return resample(probability, grid, native)


def image_facts(images: Array, names: Sequence[str], grid: Grid, native: Grid) -> dict[str, list[float]]:
    """Return what a prepared study looks like: edges of the scan's ``voxel`` and of the ``brain`` in mm, and quantiles
    of each image's ``intensity`` in the brain, which the z-score makes comparable."""
    facts = {"voxel": sorted(native.spacing), "brain": [n * mm for n, mm in zip(grid.shape, grid.spacing, strict=True)]}
    for name, image in zip(names, images, strict=True):
        some = np.asarray(image[::2, ::2, ::2], dtype=np.float32)
        facts[f"intensity {name}"] = np.percentile(some[some != 0], _QUANTILES).tolist()
    return {key: [round(value, 3) for value in values] for key, values in facts.items()}


def facts_range(facts: Sequence[Mapping[str, list[float]]]) -> dict[str, list[list[float]]]:
    """Return the lowest and the highest values of some studies' facts."""
    stacked = {key: np.array([one[key] for one in facts]) for key in (facts[0] if facts else {})}
    return {key: [values.min(axis=0).tolist(), values.max(axis=0).tolist()] for key, values in stacked.items()}


def unlike(facts: Mapping[str, list[float]], seen: Mapping[str, list[list[float]]]) -> list[str]:
    """Say in what a study is unlike those that a model learned from, whose `facts_range` this is."""
    told = []
    for key in sorted(facts.keys() & seen.keys(), reverse=True):
        values, low, high = (np.array(found) for found in (facts[key], *seen[key]))
        if key.startswith("intensity"):
            apart = np.maximum(low - values, values - high) / _INTENSITY_APART
            worst = int(apart.argmax())
            if apart[worst] > 1:
                told.append(
                    f"{key.removeprefix('intensity ')}: the {_QUANTILES[worst]}th percentile of its intensity in the "
                    f"brain is {values[worst]:.2f} standard deviations, in training {low[worst]:.2f} to "
                    f"{high[worst]:.2f}: is it this contrast, with the brain extracted?"
                )
        else:
            most = _EDGE_APART if key == "voxel" else _BRAIN_APART
            if (values < low / most).any() or (values > high * most).any():
                shown, lows, highs = (" × ".join(f"{edge:.3g}" for edge in edges) for edges in (values, low, high))
                what = "its voxels measure" if key == "voxel" else "what is not background measures"
                told.append(f"{what} {shown} mm, in training {lows} to {highs} mm")
    return told


def _lesion_voxels(mask: Array | None) -> tuple[Array, Array]:
    """Return the voxels of every lesion (26-connected), sorted by lesion, and where each lesion starts."""
    if mask is None:
        return np.zeros((0, 3), np.int16), np.zeros(1, np.int64)
    labels, count = label_components(mask, 26)
    voxels = np.argwhere(labels > 0)
    owner = labels[tuple(voxels.T)]
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(1, count + 2))
    return voxels[order].astype(np.int16), starts.astype(np.int64)

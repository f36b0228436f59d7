"""What is measured on the lesions of one scan: volume, shape, and how much brighter they are than what is around."""

from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionseg.metrics import component_sizes, label_components, voxel_volume

SHELL = 4  # voxels around a lesion that it is compared with
HALO = 1  # voxels around the other lesions that are left out of it: they hold a part of these
INTERIOR = 3  # voxels from the brain's edge inwards where noise is not measured

Array = NDArray[Any]
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Lesions:
    """The N lesions of one mask, 26-connected.

    Attributes:
        voxels: how many each has, shape (N,).
        volume_mm3: shape (N,).
        axis_ratios: first to second and second to third axis, each 1 or more, shape (N, 2).
        contrast: inside minus surroundings in SD of the whole brain, shape (N,); NaN without a scan, or where
            nothing of the surroundings is left.
    """

    voxels: NDArray[np.int64]
    volume_mm3: Values
    axis_ratios: Values
    contrast: Values


def measure_lesions(
    mask: Array, spacing: tuple[float, float, float], image: Array | None = None, brain: Array | None = None
) -> Lesions:
    """Measure every lesion of a mask.

    Args:
        mask: shape (X, Y, Z), non-zero inside.
        spacing: edge lengths of a voxel in mm.
        image: the scan on the same grid, any scale; None leaves the contrast NaN.
        brain: bool, same shape; needed with an image.
    """
    labels, count = label_components(mask, connectivity=26)
    sizes = component_sizes(labels, count)
    contrast = np.full(count, nan)
    if image is not None and brain is not None:
        contrast = lesion_contrasts(labels, count, image, brain)
    return Lesions(sizes, sizes * voxel_volume(spacing), axis_ratios(labels, count, spacing), contrast)


def axis_ratios(labels: Array, count: int, spacing: tuple[float, float, float]) -> Values:
    """Ratios of each lesion's principal axes, first to second and second to third, shape (count, 2).

    The axes are as the square roots of the eigenvalues of the covariance of the voxels' coordinates in mm, to which
    that within a voxel (edge² / 12) is added: a box has the ratios of its edges, a single cubic voxel 1 and 1.
    """
    voxels = np.nonzero(labels)
    index = labels[voxels] - 1
    sizes = np.bincount(index, minlength=count)
    millimetres = np.stack(voxels, axis=1) * np.asarray(spacing)

    def mean(values: Values) -> Values:
        """Over each lesion's voxels."""
        return np.bincount(index, values, minlength=count) / sizes

    away = millimetres - np.stack([mean(axis) for axis in millimetres.T], axis=1)[index]
    covariance = np.empty((count, 3, 3))
    for first, second in np.ndindex(3, 3):
        covariance[:, first, second] = mean(away[:, first] * away[:, second])
    variances = np.linalg.eigvalsh(covariance + np.diag(np.square(spacing) / 12))[:, ::-1]
    return np.asarray(np.sqrt(variances[:, :-1] / variances[:, 1:]))


def lesion_contrasts(labels: Array, count: int, image: Array, brain: Array) -> Values:
    """Mean inside each lesion minus median of the shell around it, in SD of the whole brain, shape (count,).

    The shell is what 4 dilations by the 26 neighbours add, without other lesions, the voxels next to these, and
    what is not brain. NaN where nothing of it is left.
    """
    deviation = float(image[brain].std())
    contrasts = np.full(count, nan)
    for index, box in enumerate(ndimage.find_objects(labels, max_label=count)):
        near = tuple(slice(max(0, side.start - SHELL - HALO), side.stop + SHELL + HALO) for side in box)
        own, values = labels[near] == index + 1, image[near]
        others = (labels[near] > 0) & ~own
        shell = _dilate(own, SHELL) & ~own & ~_dilate(others, HALO) & brain[near]
        if shell.any() and deviation > 0:
            contrasts[index] = (values[own].mean(dtype=float) - np.median(values[shell])) / deviation
    return contrasts


def noise_share(image: Array, brain: Array) -> float:
    """Noise relative to the brain's mean: the median absolute high-pass residual in the brain's interior.

    The residual is a voxel minus the mean of the six that share a face with it; white noise of standard deviation s
    gives 0.73 s. The interior lies at least 4 voxels inside of the edge. NaN without one.
    """
    interior = ndimage.minimum_filter(brain.astype(np.uint8), size=2 * INTERIOR + 1, mode="constant") > 0
    if not interior.any():
        return nan
    faces = ndimage.generate_binary_structure(3, 1) / 6.0
    faces[1, 1, 1] = 0.0
    residual = image - ndimage.convolve(image.astype(np.float64), faces)
    return float(np.median(np.abs(residual[interior])) / image[brain].mean(dtype=float))


def _dilate(mask: NDArray[np.bool_], voxels: int) -> NDArray[np.bool_]:
    """Dilated so many times by the 26 neighbours."""
    return np.asarray(ndimage.maximum_filter(mask, size=2 * voxels + 1, mode="constant"))

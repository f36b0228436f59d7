"""A brain-like phantom: folded cortex, white matter, ventricles, deep grey."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lesionseg.data.synthetic.fields import Grid, Mask, Volume, ramp, smooth_field


@dataclass(frozen=True)
class Anatomy:
    """Tissue shares of every voxel (0 to 1, summing to 1 in the brain) and distances in mm.

    Args:
        brain: inside the skull-stripped outline, fluid of the sulci included.
        csf, cortex, deep_grey, white: the tissues.
        pial_mm: about how far the nearest sulcus or outer surface is.
        ventricle_mm: about how far the nearest lateral ventricle is; negative inside.
    """

    brain: Mask
    csf: Volume
    cortex: Volume
    deep_grey: Volume
    white: Volume
    pial_mm: Volume
    ventricle_mm: Volume


def draw_anatomy(rng: np.random.Generator, grid: Grid) -> Anatomy:
    """Draw one subject's brain; it fills most of the grid, whatever the grid's size."""
    semi_axes = 0.47 * rng.uniform(0.94, 1.0, 3) * np.multiply(grid.shape, grid.spacing)
    size = float(semi_axes.mean())
    x, y, z = _warped_coordinates(rng, grid, semi_axes)
    radius = np.sqrt(x**2 + y**2 + z**2)
    depth = (1 - radius) * size

    pial = np.minimum(_sulci(rng, grid, depth, size), _fissure(x, y, z, size))
    side, dilation = np.abs(x), rng.lognormal(0, 0.2)
    lateral = _ellipsoid((side - 0.12 + 0.13 * y, y, z - 0.12 + 0.5 * y**2), (0.055 * dilation, 0.42, 0.11), size)
    third = _ellipsoid((x, y + 0.03, z + 0.08), (0.025 * dilation, 0.16, 0.12), size)
    thalamus = _ellipsoid((side - 0.15, y + 0.14, z + 0.08), (0.10, 0.17, 0.13), size)
    striatum = _ellipsoid((side - 0.34 + 0.2 * y, y - 0.12, z + 0.04), (0.08, 0.26, 0.19), size)

    csf = np.maximum(ramp(0.8 - pial, 1.5), ramp(-np.minimum(lateral, third), 1.5))
    cortex = (1 - csf) * ramp(3.4 - pial, 1.5)
    deep_grey = (1 - csf - cortex) * ramp(-np.minimum(thalamus, striatum), 2.0)
    return Anatomy(depth > 0, csf, cortex, deep_grey, 1 - csf - cortex - deep_grey, pial, lateral)


def _warped_coordinates(
    rng: np.random.Generator, grid: Grid, semi_axes: npt.NDArray[np.float64]
) -> tuple[Volume, Volume, Volume]:
    """Coordinates in semi-axes of the brain (right, anterior, superior), bent by up to about a tenth."""
    lines = [
        np.float32((np.arange(n) - (n - 1) / 2) * step / semi)
        for n, step, semi in zip(grid.shape, grid.spacing, semi_axes, strict=True)
    ]
    x, y, z = np.meshgrid(*lines, indexing="ij", sparse=True)
    width = 0.3 * float(semi_axes.mean())
    bends = [np.float32(amount) * smooth_field(rng, grid, width) for amount in (0.025, 0.04, 0.04)]
    return x + bends[0], y + bends[1], z + bends[2]


def _sulci(rng: np.random.Generator, grid: Grid, depth: Volume, size: float) -> Volume:
    """Distance in mm to the outer surface or to a sulcus: a smooth field's zero sheets, to some depth."""
    width = 3.2
    sheet = np.abs(smooth_field(rng, grid, width)) * np.float32(np.sqrt(2) * width)
    reach = np.float32(0.33 * size) * (1 + np.float32(0.35) * smooth_field(rng, grid, 12.0))
    return np.minimum(depth, np.hypot(sheet, np.maximum(depth - reach, 0)))


def _fissure(x: Volume, y: Volume, z: Volume, size: float) -> Volume:
    """Distance in mm to the sheet between the hemispheres, which spares the middle (corpus callosum)."""
    inner = np.maximum(0.62 - np.sqrt(y**2 + np.maximum(z + 0.1, 0) ** 2), 0)
    distance: Volume = np.hypot(x, inner) * np.float32(size)
    return distance


def _ellipsoid(offset: Sequence[Volume], semi_axes: Sequence[float], size: float) -> Volume:
    """Signed distance in mm to an ellipsoid, to first order; offsets and semi-axes in brain semi-axes."""
    scaled = [part / np.float32(axis) for part, axis in zip(offset, semi_axes, strict=True)]
    level = np.linalg.norm(scaled, axis=0) + np.float32(1e-3)
    slopes = [part / np.float32(axis) for part, axis in zip(scaled, semi_axes, strict=True)]
    slope = np.linalg.norm(slopes, axis=0) + np.float32(1e-3)
    distance: Volume = (level - 1) * level / slope * np.float32(size)
    return distance

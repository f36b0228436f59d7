"""Where the brain is, and its intensities."""

import numpy as np
from scipy import ndimage

from lesionseg.data.grid import Array


def brain_mask(volume: Array) -> Array:
    """Voxels that belong to the head or brain, bool, same shape.

    In a skull-stripped scan the background has one value, its lowest, in a good part of the volume: the brain is
    what lies above it. Elsewhere it is what lies above the mean, a rule of thumb for a head in air.
    """
    lowest = volume.min()
    if np.mean(volume == lowest) > 0.05:
        return np.asarray(volume > lowest)
    return np.asarray(volume > volume.mean())


def bounding_box(mask: Array, margin: int = 0) -> tuple[slice, slice, slice]:
    """The smallest box around a mask, widened by a margin in voxels within the volume; all of it if empty."""
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
    """Zero mean and unit variance over the mask, 0 outside; float32.

    Raises:
        ValueError: nothing inside the mask, or one value alone.
    """
    values = volume[mask]
    deviation = float(values.std()) if values.size else 0.0
    if deviation == 0:
        raise ValueError("the image has no contrast inside the brain")
    return np.where(mask, (volume - values.mean()) / deviation, 0.0).astype(np.float32)

"""Where the brain is, and its intensities."""

import numpy as np
from scipy import ndimage

from lesionseg.data.grid import Array

_BACKGROUND_SHARE = 0.2


def brain_mask(volume: Array) -> Array:
    """Voxels that belong to the head or brain, bool, same shape.

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

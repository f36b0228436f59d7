"""Where each lesion of a label volume lies, how far it reaches, and what a map says inside it."""

from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionseg.metrics.components import Labels


@dataclass(frozen=True, eq=False)
class LesionShapes:
    """Per lesion, N of them: centroid (N, 3) and extent (N, 3) in voxels, mean and maximum of the map (N,)."""

    centroid: NDArray[np.float64]
    extent: NDArray[np.int64]
    mean: NDArray[np.float64]
    maximum: NDArray[np.float64]


def measure_shapes(labels: Labels, count: int, values: NDArray[Any] | None) -> LesionShapes:
    """Measure all lesions at once.

    Args:
        labels: shape (X, Y, Z), 0 is background, each of 1 … count is there.
        count: how many lesions there are.
        values: a map of the same shape; without one, mean and maximum are NaN.
    """
    mean, maximum = np.full(count, nan), np.full(count, nan)
    if count == 0:
        return LesionShapes(np.empty((0, 3)), np.empty((0, 3), np.int64), mean, maximum)
    voxels = np.nonzero(labels)
    numbers = labels[voxels]
    # Sorted by lesion, every lesion is one run of voxels: each quantity is then one reduceat.
    order = np.argsort(numbers, kind="stable")
    coordinates = np.stack(voxels, axis=1)[order]
    sizes = np.bincount(numbers, minlength=count + 1)[1:]
    starts = (np.cumsum(sizes) - sizes).astype(np.intp)
    low, high = np.minimum.reduceat(coordinates, starts), np.maximum.reduceat(coordinates, starts)
    if values is not None:
        inside = values[voxels][order].astype(np.float64)
        mean, maximum = np.add.reduceat(inside, starts) / sizes, np.maximum.reduceat(inside, starts)
    centroid = np.add.reduceat(coordinates, starts) / sizes[:, None]
    return LesionShapes(centroid, (high - low + 1).astype(np.int64), mean, maximum)

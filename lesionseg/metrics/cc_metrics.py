"""Dice of each reference lesion inside the region of voxels that are nearer to it than to any other."""

from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionseg.metrics.components import (
    Connectivity,
    Labels,
    Spacing,
    bounding_box,
    check_masks,
    component_sizes,
    label_components,
    surface_voxels,
    voxel_volume,
)
from lesionseg.metrics.voxelwise import nearest_neighbours


def cc_dice(
    reference: NDArray[Any], prediction: NDArray[Any], spacing: Spacing, *, connectivity: Connectivity = 26
) -> float:
    """Return the mean of `lesion_dice` over the reference lesions (CC-Metrics, arXiv 2410.18684), 0 … 1.

    NaN without reference lesion (CCMetrics says 1 where both masks are empty and 0 where the reference is), 0 where
    only the prediction is empty. Arguments and errors are those of `lesion_dice`.
    """
    scores = lesion_dice(reference, prediction, spacing, connectivity=connectivity)
    return float(scores.mean()) if scores.size else nan


def lesion_dice(
    reference: NDArray[Any], prediction: NDArray[Any], spacing: Spacing, *, connectivity: Connectivity = 26
) -> NDArray[np.float64]:
    """Return the Dice of each reference lesion inside its region (Jaus et al. 2024, arXiv 2410.18684).

    A lesion's region holds the voxels that are nearer to it than to any other reference lesion, so that every
    predicted voxel counts against exactly one lesion. The published program measures that in voxels whatever their
    shape; we measure in mm. Pass a spacing of (1, 1, 1) to measure in voxels.

    Args:
        reference: mask of 0 and 1, shape (I, J, K).
        prediction: mask of 0 and 1, the same shape.
        spacing: edge lengths of a voxel in mm.
        connectivity: which neighbouring voxels make one reference lesion.

    Returns:
        Shape (R,), 0 … 1, in the order in which `label_components` numbers the lesions of a C-ordered array. Empty
        where there is no reference lesion.

    Raises:
        ValueError: if the masks are not binary, 3D and of one shape, or an option is impossible.
    """
    check_masks(reference, prediction)
    box = bounding_box(reference, prediction)
    labels, count = label_components(np.ascontiguousarray(reference[box]), connectivity)
    return region_dice(labels, count, prediction[box], spacing)


def region_dice(labels: Labels, n_reference: int, prediction: NDArray[Any], spacing: Spacing) -> NDArray[np.float64]:
    """Return the Dice of lesions labelled 1 … n_reference, in a part of the volume that holds all that is predicted.

    A predicted voxel as near to several lesions, within a billionth, goes to the one whose nearest voxel has the
    lowest last index, then the lowest middle and the lowest first one. That is how SciPy's distance transform
    breaks ties, and with it CCMetrics; it depends neither on how lesions are numbered nor on the memory order.
    """
    voxel_volume(spacing)  # raises where the spacing is impossible
    if n_reference == 0:
        return np.zeros(0)
    predicted, lesion = prediction != 0, labels > 0
    shared = np.bincount(labels[predicted & lesion], minlength=n_reference + 1)[1:]
    # What is nearest to a voxel outside all lesions lies on a surface.
    outside, sites = np.argwhere(predicted & ~lesion), surface_voxels(lesion)
    rank = np.ravel_multi_index(tuple(sites[:, ::-1].T), labels.shape[::-1])
    nearest = sites[_nearest(sites * np.asarray(spacing), rank, outside * np.asarray(spacing))]
    extra = np.bincount(labels[tuple(nearest.T)], minlength=n_reference + 1)[1:]
    return 2 * shared / (component_sizes(labels, n_reference) + shared + extra)


def _nearest(sites: NDArray[np.float64], rank: NDArray[np.int64], points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the site nearest to each point, the one of lowest rank where several are as near."""
    tree = nearest_neighbours(sites)
    nearest = np.zeros(len(points), dtype=np.int64)
    open_rows, k = np.arange(len(points)), 4
    while open_rows.size:
        k = min(k, len(sites))
        asked = range(1, k + 1)  # a range, unlike a number, keeps the axis where k is 1
        distances, found = (np.asarray(part) for part in tree.query(points[open_rows], k=asked))
        tied = distances <= distances[:, :1] * (1 + 1e-9)
        first = np.where(tied, rank[found], np.iinfo(np.int64).max).argmin(axis=1)
        nearest[open_rows] = found[np.arange(len(found)), first]
        # Where the last one asked for is still as near, there may be more of them.
        open_rows = open_rows[tied[:, -1]] if k < len(sites) else open_rows[:0]
        k *= 2
    return nearest

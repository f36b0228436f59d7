"""Dice of each reference lesion inside the cell of voxels that are nearer to it than to any other."""

from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionseg.metrics.components import (
    Connectivity,
    Labels,
    SparseMask,
    check_masks,
    component_sizes,
    label_components,
    lesion_box,
    voxel_volume,
)
from lesionseg.metrics.voxelwise import nearest_neighbours


def cc_dice(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    spacing: tuple[float, float, float],
    *,
    connectivity: Connectivity = 26,
) -> float:
    """Mean of `lesion_dice` over the reference lesions, each counting the same (CC-Metrics, arXiv 2410.18684).

    Args:
        reference: mask of 0 and 1, shape (I, J, K).
        prediction: mask of 0 and 1, the same shape.
        spacing: edge lengths of a voxel in mm; see `lesion_dice` for distances in voxels.
        connectivity: which neighbouring voxels make one reference lesion.

    Returns:
        0 … 1; NaN without reference lesion (CCMetrics says 1 where both masks are empty and 0 where the
        reference is), 0 where only the prediction is empty.

    Raises:
        ValueError: if the masks are not binary, 3D and of one shape, or an option is impossible.
    """
    scores = lesion_dice(reference, prediction, spacing, connectivity=connectivity)
    return float(scores.mean()) if scores.size else nan


def lesion_dice(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    spacing: tuple[float, float, float],
    *,
    connectivity: Connectivity = 26,
) -> NDArray[np.float64]:
    """Dice of each reference lesion inside its cell (Jaus et al. 2024, arXiv 2410.18684).

    A lesion's cell holds the voxels that are nearer to it than to any other reference lesion, so that every
    predicted voxel, false ones included, counts against exactly one lesion. The published program measures that
    in voxels whatever their shape; we measure in mm. Pass a spacing of (1, 1, 1) to measure in voxels.

    Args:
        reference: mask of 0 and 1, shape (I, J, K).
        prediction: mask of 0 and 1, the same shape.
        spacing: edge lengths of a voxel in mm.
        connectivity: which neighbouring voxels make one reference lesion.

    Returns:
        Shape (R,), 0 … 1, in the order in which `label_components` numbers the lesions of a C-ordered array,
        whatever the memory order of this one. Empty where there is no reference lesion.

    Raises:
        ValueError: if the masks are not binary, 3D and of one shape, or an option is impossible.
    """
    check_masks(reference, prediction)
    box = lesion_box(reference, prediction)
    labels, count = label_components(np.ascontiguousarray(reference[box]), connectivity)
    return cell_dice(labels, count, prediction[box], spacing)


def cell_dice(
    labels_reference: Labels, n_reference: int, prediction: NDArray[Any], spacing: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Dice of lesions that are labelled already, inside their cells.

    A predicted voxel as near to several lesions, within a billionth, goes to the one whose nearest voxel has the
    lowest last index, then the lowest middle and the lowest first one. That is how scipy's distance transform
    breaks ties, and with it CCMetrics; it depends neither on how lesions are numbered nor on the memory order.

    Args:
        labels_reference: as from `label_components`, shape (I, J, K); each of 1 … n_reference has a voxel. It may
            be a part of a volume as long as it holds every lesion and predicted voxel.
        n_reference: how many lesions there are, R.
        prediction: the same shape, every voxel other than zero counts.
        spacing: edge lengths of a voxel in mm.

    Returns:
        Shape (R,), 0 … 1: entry n belongs to label n + 1.

    Raises:
        ValueError: if the spacing is not three positive lengths.
    """
    voxel_volume(spacing)  # raises where the spacing is impossible
    if n_reference == 0:
        return np.zeros(0)
    predicted = prediction != 0
    lesion = labels_reference > 0
    shared = np.bincount(labels_reference[predicted & lesion], minlength=n_reference + 1)[1:]
    outside = np.stack(SparseMask.of(predicted & ~lesion).coordinates, axis=1)
    extra = np.bincount(_owners(labels_reference, lesion, outside, spacing), minlength=n_reference + 1)[1:]
    return 2 * shared / (component_sizes(labels_reference, n_reference) + shared + extra)


def _owners(
    labels: Labels, lesion: NDArray[np.bool_], outside: NDArray[np.int64], spacing: tuple[float, float, float]
) -> NDArray[np.int32]:
    """Label of the lesion whose cell each voxel outside all lesions lies in, shape (N,)."""
    # what is nearest to a voxel outside lies on a surface
    sites = np.stack(SparseMask.of(lesion).surface().coordinates, axis=1)
    rank = np.ravel_multi_index((sites[:, 2], sites[:, 1], sites[:, 0]), labels.shape[::-1])
    scale = np.asarray(spacing)
    nearest = sites[_nearest(sites * scale, rank, outside * scale)]
    return labels[nearest[:, 0], nearest[:, 1], nearest[:, 2]]


def _nearest(sites: NDArray[np.float64], rank: NDArray[np.int64], points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the site nearest to each point, the one of lowest rank where several are as near."""
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

"""Scores counted in voxels: overlap, how far outlines lie apart in mm, and the Dice of each reference lesion inside
the cell of voxels that are nearer to it than to any other."""

from dataclasses import dataclass
from math import isfinite, nan
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from scipy.spatial import cKDTree


@dataclass(frozen=True)
class VoxelScores:
    """Overlap of two masks in voxels, small lesions included; NaN where there is nothing to measure."""

    # 2 TP / (2 TP + FP + FN), 0 … 1 (Dice 1945, doi 10.2307/1932409); NaN where both masks are empty (the challenges
    # say 1), 0 where only one is
    dice: float
    sensitivity: float  # TP / (TP + FN), 0 … 1; NaN without reference voxel
    ppv: float  # TP / (TP + FP), 0 … 1; without predicted voxel 0, or NaN where the reference is empty, too
    volume_reference_ml: float  # ml
    volume_prediction_ml: float  # ml
    volume_difference_ml: float  # prediction minus reference, ml
    relative_volume_difference: float  # that over the reference's volume, from -1 up; NaN without reference voxel


def score_voxels(reference: NDArray[Any], prediction: NDArray[Any], spacing: tuple[float, float, float]) -> VoxelScores:
    """Compare two masks voxel by voxel.

    Args:
        reference: mask of 0 and 1, shape (I, J, K).
        prediction: mask of 0 and 1, the same shape.
        spacing: edge lengths of a voxel in mm.

    Raises:
        ValueError: if the masks are not binary, 3D and of one shape, or the spacing is not three positive lengths.
    """
    check_masks(reference, prediction)
    lesion, found = reference != 0, prediction != 0
    n_reference, n_prediction = int(np.count_nonzero(lesion)), int(np.count_nonzero(found))
    shared = int(np.count_nonzero(lesion & found))
    ml = voxel_volume(spacing) / 1000
    return VoxelScores(
        dice=2 * shared / (n_reference + n_prediction) if n_reference + n_prediction else nan,
        sensitivity=shared / n_reference if n_reference else nan,
        ppv=shared / n_prediction if n_prediction else (0.0 if n_reference else nan),
        volume_reference_ml=n_reference * ml,
        volume_prediction_ml=n_prediction * ml,
        volume_difference_ml=(n_prediction - n_reference) * ml,
        relative_volume_difference=(n_prediction - n_reference) / n_reference if n_reference else nan,
    )


def dice(reference: NDArray[Any], prediction: NDArray[Any]) -> float:
    """Dice alone: see `VoxelScores`; arguments and errors are those of `score_voxels`."""
    return score_voxels(reference, prediction, (1.0, 1.0, 1.0)).dice


@dataclass(frozen=True)
class SurfaceScores:
    """Distances between the surface voxels of two masks, both ways; every surface voxel counts the same.

    A surface voxel shares a face with a voxel outside its mask, or with the edge of the volume.

    | reference | prediction | HD95, HD, ASSD | NSD |
    |---|---|---|---|
    | empty | empty | NaN | NaN |
    | one of them empty | | NaN | 0 |

    MONAI says infinity for the HD and ASSD of one empty mask; we do not, as no average survives it.
    """

    # the 95th percentile (linear between ranks) of the distances from reference to prediction, or that from prediction
    # to reference, whichever is larger (HD95; Taha & Hanbury 2015, doi 10.1186/s12880-015-0068-x)
    hd95_mm: float
    hd_mm: float  # the largest distance of all (Hausdorff distance, the same source)
    # mean of all distances of both directions pooled, so that the larger surface weighs more (average symmetric
    # surface distance, the same source)
    assd_mm: float
    # share of the surface voxels of both masks no further than the tolerance from the other surface, 0 … 1 (normalised
    # surface Dice; Nikolov et al. 2021, doi 10.2196/26151). Voxels are counted, as MONAI does; DeepMind's own program
    # weighs by the area of the surface within each voxel instead
    nsd: float


def score_surfaces(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    spacing: tuple[float, float, float],
    *,
    tolerance_mm: float = 1.0,
) -> SurfaceScores:
    """Measure between the surfaces of two masks, voxel centre to voxel centre.

    Args:
        reference: mask of 0 and 1, shape (I, J, K).
        prediction: mask of 0 and 1, the same shape.
        spacing: edge lengths of a voxel in mm.
        tolerance_mm: how far apart two surfaces may lie and still agree, for the NSD alone. A distance within a
            billionth of it counts as equal to it, because spacings such as 0.1 mm have no exact binary form.

    Raises:
        ValueError: if the masks are not binary, 3D and of one shape, or the spacing or tolerance is impossible.
    """
    check_masks(reference, prediction)
    voxel_volume(spacing)  # raises where the spacing is impossible
    if not (isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise ValueError(f"The tolerance must be 0 mm or more, found {tolerance_mm}.")
    surfaces = SparseMask.of(reference).surface(), SparseMask.of(prediction).surface()
    drawn = sum(surface.at.size > 0 for surface in surfaces)
    if drawn < 2:
        return SurfaceScores(hd95_mm=nan, hd_mm=nan, assd_mm=nan, nsd=0.0 if drawn else nan)
    there = _distances_mm(surfaces[0], surfaces[1], spacing)
    back = _distances_mm(surfaces[1], surfaces[0], spacing)
    pooled = np.concatenate([there, back])
    return SurfaceScores(
        hd95_mm=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        hd_mm=float(pooled.max()),
        assd_mm=float(pooled.mean()),
        nsd=int(np.count_nonzero(pooled <= tolerance_mm * (1 + 1e-9))) / pooled.size,
    )


def nearest_neighbours(sites: NDArray[np.float64]) -> "cKDTree":
    """A search tree over points of shape (N, 3), built for one round of questions.

    Raster-ordered voxels split well in the middle and boxes need no shrinking: half the time of scipy's default.
    """
    from scipy.spatial import cKDTree  # takes half a second to come, and not all scores need it

    return cKDTree(sites, leafsize=32, balanced_tree=False, compact_nodes=False)


def _distances_mm(surface: SparseMask, other: SparseMask, spacing: tuple[float, float, float]) -> NDArray[np.float64]:
    """From each voxel of a surface to the nearest one of the other, in raster order."""
    apart = np.ones(surface.at.size, dtype=np.bool_)
    apart[surface.places_in(other)[0]] = False  # the voxels that both share are 0 mm away
    distances = np.zeros(surface.at.size)
    sites, points = (np.stack(mask.coordinates, axis=1) * np.asarray(spacing) for mask in (other, surface))
    distances[apart] = nearest_neighbours(sites).query(points[apart])[0]
    return distances


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

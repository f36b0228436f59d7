"""Scores counted in voxels, and how far the outlines of two masks lie apart, in mm."""

from dataclasses import dataclass
from math import isfinite, nan
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lesionseg.metrics.components import SparseMask, check_masks, voxel_volume

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

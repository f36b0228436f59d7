"""Scores counted in voxels."""

from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionseg.metrics.components import check_masks, voxel_volume


@dataclass(frozen=True)
class VoxelScores:
    """Overlap of two masks in voxels, small lesions included; NaN where there is nothing to measure.

    Attributes:
        dice: 2 TP / (2 TP + FP + FN), 0 … 1 (Dice 1945, doi 10.2307/1932409); NaN where both masks are empty (the
            challenges say 1), 0 where only one is.
        sensitivity: TP / (TP + FN), 0 … 1; NaN without reference voxel.
        ppv: TP / (TP + FP), 0 … 1; without predicted voxel 0, or NaN where the reference is empty, too.
        volume_reference_ml: ml.
        volume_prediction_ml: ml.
        volume_difference_ml: prediction minus reference, ml.
        relative_volume_difference: that over the reference's volume, from -1 up; NaN without reference voxel.
    """

    dice: float
    sensitivity: float
    ppv: float
    volume_reference_ml: float
    volume_prediction_ml: float
    volume_difference_ml: float
    relative_volume_difference: float


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

"""Scores counted in voxels."""

from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionseg.metrics._checks import check_masks
from lesionseg.metrics.components import voxel_volume


def dice(reference: NDArray[Any], prediction: NDArray[Any]) -> float:
    """Twice the shared voxels over the voxels of both masks (Dice 1945, doi 10.2307/1932409).

    Args:
        reference: mask of 0 and 1, shape (I, J, K).
        prediction: mask of 0 and 1, the same shape.

    Returns:
        0 … 1; NaN where both masks are empty (the challenges say 1), 0 where only one is.

    Raises:
        ValueError: if the masks are not binary, 3D and of one shape.
    """
    check_masks(reference, prediction)
    lesion, found = reference != 0, prediction != 0
    total = int(np.count_nonzero(lesion)) + int(np.count_nonzero(found))
    return 2 * int(np.count_nonzero(lesion & found)) / total if total else nan


def volume_ml(mask: NDArray[Any], spacing: tuple[float, float, float]) -> float:
    """Volume of a mask in ml.

    Args:
        mask: every voxel other than zero counts.
        spacing: edge lengths of a voxel in mm.

    Raises:
        ValueError: if the spacing is not three positive lengths.
    """
    return int(np.count_nonzero(mask)) * voxel_volume(spacing) / 1000

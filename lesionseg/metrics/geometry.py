"""What an affine says about the voxels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def affine_spacing(affine: NDArray[Any]) -> tuple[float, float, float]:
    """Edge lengths of a voxel in mm along i, j, k: the norms of the affine's first three columns.

    Args:
        affine: voxel indices to world mm, shape (4, 4).
    """
    edges = np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3], axis=0)
    return float(edges[0]), float(edges[1]), float(edges[2])


def voxel_to_world(voxels: NDArray[np.float64], affine: NDArray[Any]) -> NDArray[np.float64]:
    """World coordinates in mm, shape (N, 3), of voxel coordinates of shape (N, 3)."""
    matrix = np.asarray(affine, dtype=np.float64)
    return np.asarray(voxels @ matrix[:3, :3].T + matrix[:3, 3], dtype=np.float64)

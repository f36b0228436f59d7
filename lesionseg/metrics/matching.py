"""Which reference lesion and which predicted lesion share voxels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionseg.metrics.components import (
    Connectivity,
    Labels,
    component_volumes,
    drop_small,
    label_components,
    voxel_volume,
)


@dataclass(frozen=True, eq=False)
class LesionMatch:
    """The lesions of two masks on one grid, and their overlaps.

    Attributes:
        reference: labels of the reference lesions, shape (I, J, K), 0 is background.
        prediction: labels of the predicted lesions, likewise.
        reference_volumes: mm³ of each reference lesion, shape (R,); entry n belongs to label n + 1.
        prediction_volumes: mm³ of each predicted lesion, shape (Q,).
        touching: pairs (reference label, prediction label) that share a voxel, shape (M, 2), sorted.
        shared_voxels: voxels that each pair shares, shape (M,), all at least 1.
    """

    reference: Labels
    prediction: Labels
    reference_volumes: NDArray[np.float64]
    prediction_volumes: NDArray[np.float64]
    touching: NDArray[np.int64]
    shared_voxels: NDArray[np.int64]

    @property
    def reference_detected(self) -> NDArray[np.bool_]:
        """Whether each reference lesion is touched by a predicted one, shape (R,)."""
        return _occurs(self.touching[:, 0], self.reference_volumes.size)

    @property
    def prediction_true(self) -> NDArray[np.bool_]:
        """Whether each predicted lesion touches a reference one, shape (Q,)."""
        return _occurs(self.touching[:, 1], self.prediction_volumes.size)


def match_lesions(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    spacing: tuple[float, float, float],
    *,
    connectivity: Connectivity = 26,
    min_volume_mm3: float = 0.0,
) -> LesionMatch:
    """Label both masks once, drop the lesions that do not count, and note every overlap.

    Args:
        reference: mask of shape (I, J, K).
        prediction: mask of the same shape.
        spacing: edge lengths of a voxel in mm.
        connectivity: which neighbouring voxels make one lesion.
        min_volume_mm3: lesions strictly smaller are background, on both sides, before anything is matched. A
            predicted lesion that touches only a dropped reference lesion is therefore false.

    Raises:
        ValueError: if a mask is not 3D, or connectivity, spacing or the minimum is impossible.
    """
    voxel = voxel_volume(spacing)
    sides = []
    for mask in (reference, prediction):
        labels, count = drop_small(*label_components(mask, connectivity), min_volume_mm3, voxel)
        sides.append((labels, component_volumes(labels, count, voxel)))
    (reference_labels, reference_volumes), (prediction_labels, prediction_volumes) = sides
    touching, shared = _overlaps(reference_labels, prediction_labels)
    return LesionMatch(reference_labels, prediction_labels, reference_volumes, prediction_volumes, touching, shared)


def _overlaps(reference: Labels, prediction: Labels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    both = (reference > 0) & (prediction > 0)
    pairs = np.stack([reference[both], prediction[both]], axis=1).astype(np.int64)
    # One integer per pair sorts far faster than rows do.
    base = int(pairs[:, 1].max(initial=0)) + 1
    keys, shared = np.unique(pairs[:, 0] * base + pairs[:, 1], return_counts=True)
    return np.stack(np.divmod(keys, base), axis=1), shared.astype(np.int64, copy=False)


def _occurs(labels: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    return np.bincount(labels, minlength=count + 1)[1:] > 0

"""Which lesions of two masks share voxels, and how many: all that a detection criterion has to know."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionseg.metrics._sparse import Box, SparseMask, bounding_box
from lesionseg.metrics.components import Connectivity, stays, voxel_volume

Counts = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Overlaps:
    """The contingency table of the lesions of two masks, without its zeros.

    Attributes:
        reference_sizes: voxels of each reference lesion, shape (R,).
        prediction_sizes: voxels of each predicted lesion, shape (Q,).
        pairs: reference and predicted lesion that share a voxel, numbered from 0, shape (M, 2), sorted.
        shared: voxels that each pair shares, shape (M,), all at least 1.
        voxel_volume: mm³.
    """

    reference_sizes: Counts
    prediction_sizes: Counts
    pairs: Counts
    shared: Counts
    voxel_volume: float

    @cached_property
    def reference_covered(self) -> Counts:
        """Voxels of each reference lesion that lie in any predicted one, shape (R,)."""
        return _sum_by(self.pairs[:, 0], self.shared, self.reference_sizes.size)

    @cached_property
    def prediction_covered(self) -> Counts:
        """Voxels of each predicted lesion that lie in any reference one, shape (Q,)."""
        return _sum_by(self.pairs[:, 1], self.shared, self.prediction_sizes.size)

    @cached_property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each pair, shape (M,), 0 … 1."""
        first, second = self.reference_sizes[self.pairs[:, 0]], self.prediction_sizes[self.pairs[:, 1]]
        return np.asarray(self.shared / (first + second - self.shared))

    def swapped(self) -> "Overlaps":
        """The same table with reference and prediction in each other's place."""
        turned = self.pairs[:, ::-1]
        order = np.lexsort((turned[:, 1], turned[:, 0]))
        return Overlaps(
            self.prediction_sizes, self.reference_sizes, turned[order], self.shared[order], self.voxel_volume
        )

    def kept(self, min_volume_mm3: float, *, exclusive: bool = False) -> "tuple[Overlaps, Flags, Flags]":
        """The table without the lesions that are too small to count, on either side; they become background.

        Args:
            min_volume_mm3: smallest lesion that counts, in mm³.
            exclusive: whether a lesion of exactly that volume goes, too.

        Returns:
            The table of those that stay, and for each reference and each predicted lesion whether it stays.
        """
        sides = [
            stays(sizes, min_volume_mm3, self.voxel_volume, exclusive=exclusive)
            for sizes in (self.reference_sizes, self.prediction_sizes)
        ]
        if sides[0].all() and sides[1].all():
            return self, sides[0], sides[1]
        rows = sides[0][self.pairs[:, 0]] & sides[1][self.pairs[:, 1]]
        numbers = [np.cumsum(side) - 1 for side in sides]
        pairs = np.stack([numbers[side][self.pairs[rows, side]] for side in (0, 1)], axis=1)
        table = Overlaps(
            self.reference_sizes[sides[0]],
            self.prediction_sizes[sides[1]],
            pairs,
            self.shared[rows],
            self.voxel_volume,
        )
        return table, sides[0], sides[1]


@dataclass(frozen=True, eq=False)
class MaskPair:
    """Reference and prediction on one grid, each labelled once per connectivity.

    Attributes:
        reference: its voxels.
        prediction: likewise.
        spacing: edge lengths of a voxel in mm.
    """

    reference: SparseMask
    prediction: SparseMask
    spacing: tuple[float, float, float]
    _overlaps: dict[Connectivity, Overlaps] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, reference: NDArray[Any], prediction: NDArray[Any], spacing: tuple[float, float, float]) -> "MaskPair":
        """List the voxels of both masks.

        Args:
            reference: mask of shape (I, J, K); every voxel other than zero is lesion.
            prediction: mask of the same shape.
            spacing: edge lengths of a voxel in mm.

        Raises:
            ValueError: if the spacing is not three positive lengths.
        """
        voxel_volume(spacing)
        return cls(SparseMask.of(reference), SparseMask.of(prediction), spacing)

    @cached_property
    def box(self) -> Box:
        """The smallest part of the volume that holds both."""
        return bounding_box(self.reference, self.prediction)

    @cached_property
    def masks(self) -> tuple[Flags, Flags]:
        """Reference and prediction within the box."""
        return self.reference.dense(self.box), self.prediction.dense(self.box)

    def overlaps(self, connectivity: Connectivity) -> Overlaps:
        """The contingency table of all lesions, small ones among them; lesion n has label n + 1."""
        if connectivity not in self._overlaps:
            reference, n_reference = self.reference.labels(connectivity)
            prediction, n_prediction = self.prediction.labels(connectivity)
            here, there = self._shared
            # One integer per pair sorts far faster than rows do.
            base = max(n_prediction, 1)
            keys, shared = np.unique((reference[here] - 1) * np.int64(base) + prediction[there] - 1, return_counts=True)
            self._overlaps[connectivity] = Overlaps(
                np.bincount(reference, minlength=n_reference + 1)[1:],
                np.bincount(prediction, minlength=n_prediction + 1)[1:],
                np.stack(np.divmod(keys, base), axis=1),
                shared.astype(np.int64, copy=False),
                voxel_volume(self.spacing),
            )
        return self._overlaps[connectivity]

    @cached_property
    def _shared(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Which voxels of the reference are predicted, and which of the prediction these are."""
        return self.reference.places_in(self.prediction)


def _sum_by(groups: Counts, values: Counts, count: int) -> Counts:
    return np.bincount(groups, weights=values, minlength=count).astype(np.int64)

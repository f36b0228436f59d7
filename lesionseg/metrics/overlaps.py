"""Which lesions of two masks share voxels, and how many: all that a detection criterion has to know."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionseg.metrics._crop import Box, lesion_box
from lesionseg.metrics.components import Connectivity, Labels, label_components, stays, voxel_volume

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
    """Reference and prediction on one grid, cut to the box that holds both, each labelled once per connectivity.

    Attributes:
        reference: shape (X, Y, Z), the box.
        prediction: likewise.
        box: where it lies in the whole volume.
        spacing: edge lengths of a voxel in mm.
    """

    reference: Flags
    prediction: Flags
    box: Box
    spacing: tuple[float, float, float]
    _labels: dict[Connectivity, tuple[Labels, int, Labels, int]] = field(default_factory=dict, repr=False)
    _overlaps: dict[Connectivity, Overlaps] = field(default_factory=dict, repr=False)

    @classmethod
    def cut(cls, reference: NDArray[Any], prediction: NDArray[Any], spacing: tuple[float, float, float]) -> "MaskPair":
        """Cut both masks to their common box.

        Args:
            reference: mask of shape (I, J, K); every voxel other than zero is lesion.
            prediction: mask of the same shape.
            spacing: edge lengths of a voxel in mm.

        Raises:
            ValueError: if the spacing is not three positive lengths.
        """
        voxel_volume(spacing)
        box = lesion_box(reference, prediction)
        cut, found = (np.ascontiguousarray(mask[box] != 0) for mask in (reference, prediction))
        return cls(cut, found, box, spacing)

    def labels(self, connectivity: Connectivity) -> tuple[Labels, int, Labels, int]:
        """Labels and count of the reference lesions, labels and count of the predicted ones, within the box."""
        if connectivity not in self._labels:
            reference, prediction = (label_components(mask, connectivity) for mask in (self.reference, self.prediction))
            self._labels[connectivity] = (*reference, *prediction)
        return self._labels[connectivity]

    def overlaps(self, connectivity: Connectivity) -> Overlaps:
        """The contingency table of all lesions, small ones among them; lesion n has label n + 1."""
        if connectivity not in self._overlaps:
            reference, n_reference, prediction, n_prediction = self.labels(connectivity)
            first = reference.ravel()[self._at[0]].astype(np.int64)
            second = prediction.ravel()[self._at[1]].astype(np.int64)
            here, there = reference.ravel()[self._at[2]], prediction.ravel()[self._at[2]]
            # One integer per pair sorts far faster than rows do.
            keys, shared = np.unique((here.astype(np.int64) - 1) * max(n_prediction, 1) + there - 1, return_counts=True)
            self._overlaps[connectivity] = Overlaps(
                np.bincount(first, minlength=n_reference + 1)[1:],
                np.bincount(second, minlength=n_prediction + 1)[1:],
                np.stack(np.divmod(keys, max(n_prediction, 1)), axis=1),
                shared.astype(np.int64, copy=False),
                voxel_volume(self.spacing),
            )
        return self._overlaps[connectivity]

    @cached_property
    def _at(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Where reference, prediction and both are lesion, as flat indices into the box."""
        reference = np.flatnonzero(self.reference)
        return reference, np.flatnonzero(self.prediction), reference[self.prediction.ravel()[reference]]


def _sum_by(groups: Counts, values: Counts, count: int) -> Counts:
    return np.bincount(groups, weights=values, minlength=count).astype(np.int64)

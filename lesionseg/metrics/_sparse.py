"""A mask as the list of its voxels: a brain has a thousand times as many voxels as its lesions do.

Lesions are labelled run by run, a run being voxels in a row along the last axis: neighbouring runs are looked up in
sorted order, and joined as the nodes of a graph.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lesionseg.metrics.components import Connectivity, Labels, label_components

Box = tuple[slice, slice, slice]
_MANY = 50_000  # runs from which on cc3d is faster, although it looks at every voxel of the box

# The rows after a run's own in which its neighbours may lie, as steps along the first two axes, and how far beyond its
# ends they may begin there. Those before it find it from their side.
_NEXT_ROWS: dict[int, tuple[tuple[tuple[int, int], int], ...]] = {
    6: (((0, 1), 0), ((1, 0), 0)),
    18: (((0, 1), 1), ((1, 0), 1), ((1, -1), 0), ((1, 1), 0)),
    26: (((0, 1), 1), ((1, 0), 1), ((1, -1), 1), ((1, 1), 1)),
}


@dataclass(frozen=True, eq=False)
class SparseMask:
    """The voxels of a mask.

    Attributes:
        at: their flat indices in raster (C) order, ascending, shape (N,).
        shape: of the volume, (I, J, K).
    """

    at: NDArray[np.intp]
    shape: tuple[int, int, int]
    _labels: dict[Connectivity, tuple[Labels, int]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, mask: NDArray[Any]) -> "SparseMask":
        """The voxels other than zero of a mask of shape (I, J, K), whatever its memory order."""
        shape = cast("tuple[int, int, int]", mask.shape)
        if mask.flags.f_contiguous and not mask.flags.c_contiguous:  # read it in the order it lies in memory
            found = np.unravel_index(_nonzero(mask.T.ravel()), shape[::-1])
            return cls(np.sort(np.ravel_multi_index(found[::-1], shape)), shape)
        return cls(_nonzero(mask.ravel()), shape)

    @cached_property
    def coordinates(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Voxel indices along i, j, k, each of shape (N,)."""
        i, j, k = np.unravel_index(self.at, self.shape)
        return i, j, k

    def dense(self, box: Box, values: NDArray[Any] | None = None) -> NDArray[Any]:
        """The part of the volume inside a box that holds every voxel: True there, or the voxels' values, else 0."""
        shape = [side.stop - side.start for side in box]
        filled = np.zeros(shape, dtype=np.bool_ if values is None else values.dtype)
        places = tuple(axis - side.start for axis, side in zip(self.coordinates, box, strict=True))
        filled[places] = True if values is None else values
        return filled

    def surface(self) -> "SparseMask":
        """The voxels that share a face with a voxel outside the mask; beyond the volume all is outside."""
        box = bounding_box(self)
        shape = [side.stop - side.start + 2 for side in box]  # a voxel to spare all round
        filled = np.zeros(shape, dtype=np.bool_).ravel()
        places = [axis - side.start + 1 for axis, side in zip(self.coordinates, box, strict=True)]
        here = np.ravel_multi_index((places[0], places[1], places[2]), shape)
        filled[here] = True
        inner = np.ones(here.size, dtype=np.bool_)
        for step in (1, shape[2], shape[1] * shape[2]):
            inner &= filled[here - step] & filled[here + step]
        return SparseMask(self.at[~inner], self.shape)

    def places_in(self, other: "SparseMask") -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Which of these voxels the other mask of that shape has, too, and which of its voxels they are."""
        if other.at.size == 0:
            return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
        there = np.searchsorted(other.at, self.at)
        there[there == other.at.size] = 0
        here = np.flatnonzero(other.at[there] == self.at)
        return here, there[here]

    def labels(self, connectivity: Connectivity) -> tuple[Labels, int]:
        """The lesion of each voxel, 1 … count, shape (N,), and the count.

        Lesions are numbered in the raster order of their first voxels.

        Raises:
            ValueError: if the connectivity is not 6, 18 or 26.
        """
        if connectivity not in self._labels:
            self._labels[connectivity] = self._label(connectivity)
        return self._labels[connectivity]

    def _label(self, connectivity: Connectivity) -> tuple[Labels, int]:
        if connectivity not in _NEXT_ROWS or self._runs.start.size > _MANY:
            box = bounding_box(self)
            places = tuple(axis - side.start for axis, side in zip(self.coordinates, box, strict=True))
            labels, count = label_components(self.dense(box), connectivity)
            return labels[places], count
        from scipy.sparse import csr_array  # takes a quarter of a second to come, and not all scores need it
        from scipy.sparse.csgraph import connected_components

        runs = self._runs
        n_runs = runs.start.size
        if n_runs == 0:
            return np.zeros(0, dtype=np.int32), 0
        ends = []
        for (rows, columns), reach in _NEXT_ROWS[connectivity]:
            step = rows * runs.plane + columns * runs.row
            low = np.searchsorted(runs.end, runs.start + (step - reach))
            high = np.searchsorted(runs.start, runs.end + (step + reach), side="right")
            number = high - low
            others = np.arange(number.sum()) + np.repeat(low - (np.cumsum(number) - number), number)
            ends.append((np.repeat(np.arange(n_runs), number), others))
        first, second = (np.concatenate(side) for side in zip(*ends, strict=True))
        graph = csr_array((np.ones(first.size), (first, second)), shape=(n_runs, n_runs))
        count, of_run = connected_components(graph, directed=False)
        return np.repeat(of_run + 1, runs.end - runs.start + 1).astype(np.int32, copy=False), int(count)

    @cached_property
    def _runs(self) -> "_Runs":
        _, columns, depth = self.shape
        # With a row and a voxel to spare, what follows the end of a row or plane is empty: nothing wraps around.
        line = self.at // depth if depth else self.at
        spared = self.at + line + (line // columns if columns else line) * (depth + 1)
        first = np.flatnonzero(np.diff(spared, prepend=-2) != 1)
        length = np.diff(first, append=spared.size)
        return _Runs(spared[first], spared[first] + length - 1, depth + 1, (columns + 1) * (depth + 1))


@dataclass(frozen=True, eq=False)
class _Runs:
    """First and last voxel of each run, as flat indices of a volume with a spare row and voxel, and the steps from one
    of its rows, and of its planes, to the next."""

    start: NDArray[np.intp]
    end: NDArray[np.intp]
    row: int
    plane: int


def lesion_box(*masks: NDArray[Any]) -> Box:
    """The smallest box that holds every voxel other than zero of all masks; empty where there is none."""
    return bounding_box(*(SparseMask.of(mask) for mask in masks))


def bounding_box(*masks: SparseMask) -> Box:
    """The smallest box that holds every voxel of all masks; empty where there is none."""
    held = [mask.coordinates for mask in masks if mask.at.size]
    if not held:
        return slice(0, 0), slice(0, 0), slice(0, 0)
    i, j, k = (
        slice(min(int(axis.min()) for axis in axes), max(int(axis.max()) for axis in axes) + 1)
        for axes in zip(*held, strict=True)
    )
    return i, j, k


def _nonzero(values: NDArray[Any]) -> NDArray[np.intp]:
    """`np.flatnonzero` of a flat array, looking at eight voxels at a time where nearly all are empty."""
    cells = (values if values.dtype.itemsize == 1 else values != 0).view(np.uint8)
    whole = cells.size // 8 * 8
    held = np.flatnonzero(cells[:whole].view(np.uint64) != 0)
    if held.size > cells.size // 64:
        return np.flatnonzero(cells != 0)
    near = (held[:, None] * 8 + np.arange(8)).ravel()
    return np.concatenate([near[cells[near] != 0], np.flatnonzero(cells[whole:]) + whole])

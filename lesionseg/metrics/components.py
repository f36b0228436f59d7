"""Lesions of a mask as connected components, dense or by their voxels alone; and what a mask must be."""

from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite, prod
from typing import Any, Literal, cast

import cc3d
import numpy as np
from numpy.typing import NDArray

Connectivity = Literal[6, 18, 26]
"""Voxels of one lesion share a face (6), a face or an edge (18), or a face, an edge or a corner (26)."""
Mask = NDArray[Any]
Labels = NDArray[np.int32]
Box = tuple[slice, slice, slice]
Spacing = tuple[float, float, float]
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
    """The voxels of a mask."""

    at: NDArray[np.intp]  # their flat indices in raster (C) order, ascending, shape (N,)
    shape: tuple[int, int, int]  # of the volume, (I, J, K)
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


def label_components(mask: Mask, connectivity: Connectivity = 26) -> tuple[Labels, int]:
    """Number the lesions of a mask.

    Args:
        mask: shape (I, J, K), any memory order; every voxel other than zero (or False) is lesion,
            whatever its value, so that an instance map loses its instances.
        connectivity: which neighbours belong together.

    Returns:
        Labels of shape (I, J, K), 0 for background and 1 … count for the lesions, and the count. The numbers
        carry no meaning beyond telling lesions apart.

    Raises:
        ValueError: if the mask is not 3D or the connectivity is not 6, 18 or 26.
    """
    if mask.ndim != 3:
        raise ValueError(f"A mask must be 3D, found shape {mask.shape}.")
    if connectivity not in (6, 18, 26):
        raise ValueError(f"Connectivity must be 6, 18 or 26, found {connectivity!r}.")
    if mask.size == 0:
        return np.zeros(mask.shape, dtype=np.int32), 0
    # cc3d labels equal values together, so only a 0/1 image gives the components of "not background".
    # It reads C and Fortran order alike; any other layout (a flip, a stride) has to be copied first.
    lesion = (mask if mask.dtype == np.bool_ else mask != 0).view(np.uint8)
    if not (lesion.flags.c_contiguous or lesion.flags.f_contiguous):
        lesion = np.ascontiguousarray(lesion)
    labels, count = cc3d.connected_components(lesion, connectivity=connectivity, return_N=True, out_dtype=np.uint32)
    return labels.view(np.int32), int(count)


def component_sizes(labels: Labels, count: int) -> NDArray[np.int64]:
    """Voxels of each lesion, shape (count,): entry n belongs to label n + 1."""
    return np.bincount(labels.ravel(order="K"), minlength=count + 1)[1:].astype(np.int64, copy=False)


def component_volumes(labels: Labels, count: int, voxel_volume: float) -> NDArray[np.float64]:
    """Volume of each lesion in mm³, shape (count,): entry n belongs to label n + 1.

    Args:
        labels: as from `label_components`.
        count: how many lesions there are.
        voxel_volume: volume of one voxel in mm³, as from `voxel_volume`.
    """
    return component_sizes(labels, count).astype(np.float64) * voxel_volume


def voxel_volume(spacing: tuple[float, float, float]) -> float:
    """Volume of one voxel in mm³ from its three edge lengths in mm.

    Raises:
        ValueError: if there are not three edges, or one is not positive and finite.
    """
    if len(spacing) != 3 or not all(isfinite(edge) and edge > 0 for edge in spacing):
        raise ValueError(f"Spacing must be three positive lengths in mm, found {tuple(spacing)}.")
    return float(prod(spacing))


def stays(
    sizes: NDArray[np.int64], min_volume_mm3: float, voxel_volume: float, *, exclusive: bool = False
) -> NDArray[np.bool_]:
    """Whether each lesion is large enough to count, shape (count,).

    A lesion of exactly the minimum stays; volumes within a billionth of it count as equal to it, because spacings
    such as 0.1 mm have no exact binary form. A minimum of 0 keeps everything.

    Args:
        sizes: voxels of each lesion, shape (count,).
        min_volume_mm3: smallest lesion that counts, in mm³.
        voxel_volume: volume of one voxel in mm³.
        exclusive: a lesion of exactly the minimum goes, too.

    Raises:
        ValueError: if the minimum is negative or not finite.
    """
    if not (isfinite(min_volume_mm3) and min_volume_mm3 >= 0):
        raise ValueError(f"The smallest lesion must be 0 mm³ or more, found {min_volume_mm3}.")
    volumes = sizes * voxel_volume
    return np.asarray(volumes > min_volume_mm3 * (1 + 1e-9) if exclusive else volumes >= min_volume_mm3 * (1 - 1e-9))


def keep_labels(labels: Labels, keep: NDArray[np.bool_]) -> tuple[Labels, int]:
    """The labels for which `keep`, shape (count,), is true, numbered 1 … n in order, and n; the others become 0."""
    if keep.all():
        return labels, keep.size
    renumbered = np.zeros(keep.size + 1, dtype=np.int32)
    renumbered[1:][keep] = np.arange(1, keep.sum() + 1, dtype=np.int32)
    return renumbered[labels], int(keep.sum())


def remove_small(
    mask: Mask,
    min_volume_mm3: float,
    spacing: tuple[float, float, float],
    connectivity: Connectivity = 26,
) -> NDArray[np.bool_]:
    """The mask without its lesions strictly smaller than a minimum; a lesion of exactly the minimum stays.

    Args:
        mask: shape (I, J, K), every voxel other than zero is lesion.
        min_volume_mm3: smallest lesion that stays, in mm³; 0 keeps everything.
        spacing: edge lengths of a voxel in mm.
        connectivity: which neighbours belong together.

    Raises:
        ValueError: if the mask is not 3D, or the minimum, spacing or connectivity is impossible.
    """
    labels, count = label_components(mask, connectivity)
    keep = stays(component_sizes(labels, count), min_volume_mm3, voxel_volume(spacing))
    return keep_labels(labels, keep)[0] > 0


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


def check_masks(reference: NDArray[Any], prediction: NDArray[Any]) -> None:
    """Raise ValueError unless both are 3D, of one shape, and hold nothing but 0 and 1 (or False and True)."""
    for name, mask in (("reference", reference), ("prediction", prediction)):
        if mask.ndim != 3:
            raise ValueError(f"The {name} must be 3D, found shape {mask.shape}.")
        _check_binary(mask, name)
    if reference.shape != prediction.shape:
        raise ValueError(
            f"Reference and prediction must share one grid, found shapes {reference.shape} and "
            f"{prediction.shape}; resample the prediction to the reference first."
        )


def check_affine(affine: NDArray[Any]) -> None:
    """Raise ValueError unless the voxel-to-world matrix is 4 × 4, finite and invertible."""
    if affine.shape != (4, 4):
        raise ValueError(f"The affine must be 4 × 4, found shape {affine.shape}.")
    if not np.isfinite(affine).all():
        raise ValueError("The affine must be finite, found NaN or infinite entries.")
    if np.linalg.det(affine[:3, :3]) == 0:
        raise ValueError("The affine must be invertible, found one that squeezes the volume flat.")


def check_probability(probability: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the map has the masks' shape and lies within 0 … 1."""
    if probability.shape != shape:
        raise ValueError(f"The probability map must have the masks' shape {shape}, found {probability.shape}.")
    if probability.size == 0:
        return
    low, high = float(probability.min()), float(probability.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("The probability map must be finite, found NaN or infinite values.")
    if low < 0 or high > 1:
        raise ValueError(
            f"Probabilities must lie within 0 … 1, found {low:g} … {high:g}; are these logits? Apply a sigmoid."
        )


def _check_binary(mask: NDArray[Any], name: str) -> None:
    if mask.dtype == np.bool_:
        return
    if np.issubdtype(mask.dtype, np.inexact) and not np.isfinite(mask).all():
        raise ValueError(f"The {name} must be finite, found NaN or infinite values.")
    whole = mask.dtype.kind in "iu" and mask.size > 0
    if whole and mask.max() <= 1 and (mask.dtype.kind == "u" or mask.min() >= 0):  # quick looks, no new arrays
        return
    if not ((mask == 0) | (mask == 1)).all():
        values = np.unique(mask)
        shown = ", ".join(f"{value:g}" for value in values[:6]) + (", …" if values.size > 6 else "")
        raise ValueError(f"The {name} must be a mask of 0 and 1, found the values {shown}.")


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

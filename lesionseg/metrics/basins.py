"""The peaks of a map, how they join as a threshold falls, and when each joined part is large enough.

Falling thresholds do two things to the components of {p ≥ t}: they make one appear, at a peak, and they join two, at a
saddle. Which peaks join where is a spanning forest of the basins that drain to them.
"""

from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from lesionseg.metrics.components import Connectivity

Ranks = NDArray[np.int32]
"""Places of voxels in ascending order of value, 1 … N, ties broken by position; 0 is not a voxel."""
# The 27 voxels around and including one, numbered as the bits of a mask: bit 9·i + 3·j + k, the centre is bit 13.
_AROUND = [(i, j, k) for i, j, k in product((-1, 0, 1), repeat=3)]
_STEPS: dict[int, int] = {6: 1, 18: 2, 26: 3}  # the axes along which two neighbours may differ
_CHUNK = 1 << 15  # voxels whose neighbours are looked at together; small enough for the processor's cache


@dataclass(frozen=True, eq=False)
class Basins:
    """The peaks of a map, what drains to them, and how they join as the threshold falls."""

    of: NDArray[np.int32]  # the basin of the voxel of each rank, 0 … B - 1, shape (N + 1,); entry 0 means nothing
    peaks: Ranks  # rank of the highest voxel of each basin, shape (B,)
    joins: NDArray[np.int32]  # pairs of basins that become one, a forest, shape (E, 2)
    saddles: Ranks  # rank of the voxel at which each pair does, shape (E,)


def _is_neighbour(offset: tuple[int, int, int], connectivity: Connectivity) -> bool:
    return 1 <= sum(map(abs, offset)) <= _STEPS[connectivity]


def find_basins(ranks: Ranks, active: NDArray[np.bool_], connectivity: Connectivity) -> Basins:
    """The basins of the active voxels of a map.

    Args:
        ranks: of the active voxels in raster order, shape (N,), each of 1 … N once.
        active: which voxels there are, shape (I, J, K).
        connectivity: which voxels are neighbours.
    """
    padded = np.pad(active, 1)
    voxels = np.flatnonzero(padded)
    grid = np.zeros(padded.size, dtype=np.int32)
    grid[voxels] = ranks
    _, rows, columns = padded.shape
    shifts = [(i * rows + j) * columns + k for i, j, k in _AROUND]

    upward, may_join = _climb(grid, voxels, shifts, connectivity)
    while not np.array_equal(upward, further := upward[upward]):
        upward = further
    peaks = np.flatnonzero(upward == np.arange(upward.size))[1:].astype(np.int32)
    of = np.zeros(upward.size, dtype=np.int32)
    of[peaks] = np.arange(peaks.size)
    of = of[upward]

    voxels = voxels[may_join]
    own = grid[voxels]
    keys, saddles = [], []
    for offset, shift in zip(_AROUND, shifts, strict=True):
        if _is_neighbour(offset, connectivity):
            other = grid[voxels + shift]
            two = (other > own) & (of[other] != of[own])
            first, second = of[own[two]].astype(np.int64), of[other[two]]
            keys.append(np.minimum(first, second) * peaks.size + np.maximum(first, second))
            saddles.append(own[two])
    joined, at = np.concatenate(keys), np.concatenate(saddles)
    order = np.argsort(joined)
    starts = np.flatnonzero(np.diff(joined[order], prepend=-1))  # of each pair of basins the highest rank counts
    joins, highest = joined[order][starts], np.maximum.reduceat(at[order], starts) if starts.size else at
    ends = np.stack(np.divmod(joins, max(1, peaks.size)), axis=1).astype(np.int32)
    return Basins(of, peaks, *spanning_forest(ends, highest, peaks.size))


def _climb(
    grid: Ranks, voxels: NDArray[np.int64], shifts: list[int], connectivity: Connectivity
) -> tuple[Ranks, NDArray[np.bool_]]:
    """The rank of each rank's highest neighbour (or its own, at a peak), and whether each voxel may join basins.

    A voxel joins nothing where its higher neighbours hang together around it already: then they did so before it
    came. That leaves few voxels to look at, without which the pairs of neighbours would be most of the work.
    """
    upward = np.zeros(voxels.size + 1, dtype=np.int32)
    may_join = np.empty(voxels.size, dtype=np.bool_)
    for start in range(0, voxels.size, _CHUNK):
        here = voxels[start : start + _CHUNK]
        own = grid[here]
        best = own.copy()
        higher = np.zeros(here.size, dtype=np.uint32)
        for bit, (offset, shift) in enumerate(zip(_AROUND, shifts, strict=True)):
            other = grid[here + shift]
            higher |= (other > own).astype(np.uint32) << np.uint32(bit)
            if _is_neighbour(offset, connectivity):
                np.maximum(best, other, out=best)
        upward[own] = best
        may_join[start : start + _CHUNK] = _fall_apart(higher, connectivity)
    return upward, may_join


def _fall_apart(higher: NDArray[np.uint32], connectivity: Connectivity) -> NDArray[np.bool_]:
    """Whether the neighbours in each mask of 27 bits lie in more than one component of it."""
    bits = sum(1 << bit for bit, offset in enumerate(_AROUND) if _is_neighbour(offset, connectivity))
    neighbours = higher & np.uint32(bits)
    reached = neighbours & (~neighbours + np.uint32(1))  # the lowest bit
    while not np.array_equal(reached, further := _grow(reached, connectivity) & higher):
        reached = further
    return np.asarray((neighbours & ~reached) != 0)


def _grow(bits: NDArray[np.uint32], connectivity: Connectivity) -> NDArray[np.uint32]:
    """Masks of 27 bits with the neighbours of every bit added."""

    def along(axis: int, bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
        step = np.uint32(3 ** (2 - axis))
        up = np.uint32(sum(1 << bit for bit, offset in enumerate(_AROUND) if offset[axis] > -1))
        down = np.uint32(sum(1 << bit for bit, offset in enumerate(_AROUND) if offset[axis] < 1))
        return np.asarray(bits | ((bits << step) & up) | ((bits >> step) & down))

    if connectivity == 6:
        return along(0, bits) | along(1, bits) | along(2, bits)
    i, j = along(0, bits), along(1, bits)
    if connectivity == 18:
        return along(1, i) | along(2, i) | along(2, j)
    return along(2, along(1, i))


def spanning_forest(ends: NDArray[np.int32], ranks: Ranks, n_nodes: int) -> tuple[NDArray[np.int32], Ranks]:
    """The edges of highest rank that reach whatever all edges reach; no pair of ends comes twice."""
    if ranks.size == 0:
        return ends, ranks
    from scipy.sparse import coo_array  # takes a quarter of a second to come, and not all scores need it
    from scipy.sparse.csgraph import minimum_spanning_tree

    # SciPy seeks the least weight and takes 0 for no edge: the highest rank weighs 1.
    turn = int(ranks.max()) + 1
    graph = coo_array((turn - ranks.astype(np.float64), (ends[:, 0], ends[:, 1])), shape=(n_nodes, n_nodes))
    forest = minimum_spanning_tree(graph.tocsr()).tocoo()
    return np.stack([forest.row, forest.col], axis=1).astype(np.int32), (turn - forest.data).astype(np.int32)


def opening_levels(basins: Basins, least: int) -> Ranks:
    """The highest rank at which each basin is part of a component of at least so many voxels, 0 for never.

    Cutting every voxel down to its basin's level is the area opening of the map (Vincent, 1993).
    """
    if least == 1:
        return basins.peaks
    n_basins = basins.peaks.size
    tops = _highest_voxels(basins, least)
    level = [0] * n_basins
    # A component that is large enough stays so: only the others need to know their members, fewer than `least`.
    group = list(range(n_basins))
    members = [[basin] for basin in group]

    def settle(basin: int, rank: int) -> None:
        for member in members[group[basin]]:
            level[member] = rank

    def is_large(basin: int, rank: int) -> bool:
        if not level[basin] and len(top := tops[group[basin]]) >= least and top[least - 1] >= rank:
            settle(basin, top[least - 1])
        return level[basin] > 0

    falling = np.argsort(-basins.saddles)
    for (one, other), rank in zip(basins.joins[falling].tolist(), basins.saddles[falling].tolist(), strict=True):
        large = is_large(one, rank), is_large(other, rank)
        if any(large):
            if not all(large):
                settle(other if large[0] else one, rank)
            continue
        into, gone = group[one], group[other]
        tops[into] = sorted(tops[into] + tops[gone], reverse=True)[:least]
        for member in members[gone]:
            group[member] = into
        members[into] += members[gone]
        if len(tops[into]) == least and tops[into][-1] >= rank:  # together they are, and from here on only
            settle(one, rank)
    for basin in range(n_basins):
        is_large(basin, 1)
    return np.array(level, dtype=np.int32)


def _highest_voxels(basins: Basins, most: int) -> list[list[int]]:
    """The ranks of at most so many voxels of each basin, the highest first."""
    n_voxels = basins.of.size - 1
    of = basins.of[1:].astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(np.bincount(of, minlength=basins.peaks.size))])
    keys = np.sort(of * n_voxels + np.arange(n_voxels)[::-1])
    ranks = n_voxels - keys % n_voxels
    places = np.arange(n_voxels) - np.repeat(starts[:-1], np.diff(starts))
    kept = ranks[places < most].tolist()
    ends = np.concatenate([[0], np.cumsum(np.minimum(np.diff(starts), most))]).tolist()
    return [kept[start:end] for start, end in pairwise(ends)]

"""The peaks of a map, how they join as a threshold falls, and when each joined part is large enough.

Falling thresholds do two things to the components of {p ≥ t}: they make one appear, at a peak, and they join two, at a
saddle. Which peaks join where is a spanning forest of the basins that drain to them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import ceil, inf, isfinite, nan
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionseg.metrics.components import (
    Connectivity,
    Labels,
    check_masks,
    check_probability,
    component_sizes,
    keep_labels,
    label_components,
    lesion_box,
    stays,
    voxel_volume,
)

Ranks = NDArray[np.int32]

"""Places of voxels in ascending order of value, 1 … N, ties broken by position; 0 is not a voxel."""


@dataclass(frozen=True, eq=False)
class Basins:
    """The peaks of a map, what drains to them, and how they join as the threshold falls.

    Attributes:
        of: the basin of the voxel of each rank, 0 … B - 1, shape (N + 1,); entry 0 means nothing.
        peaks: rank of the highest voxel of each basin, shape (B,).
        joins: pairs of basins that become one, a forest, shape (E, 2).
        saddles: rank of the voxel at which each pair does, shape (E,).
    """

    of: NDArray[np.int32]
    peaks: Ranks
    joins: NDArray[np.int32]
    saddles: Ranks


# The 27 voxels around and including one, numbered as the bits of a mask: bit 9·i + 3·j + k, the centre is bit 13.
_AROUND = [(i, j, k) for i, j, k in product((-1, 0, 1), repeat=3)]

_STEPS: dict[int, int] = {6: 1, 18: 2, 26: 3}  # the axes along which two neighbours may differ

_CHUNK = 1 << 15  # voxels whose neighbours are looked at together; small enough for the processor's cache


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
    joins, highest = _highest_per_key(np.concatenate(keys), np.concatenate(saddles))
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


def _highest_per_key(keys: NDArray[np.int64], ranks: Ranks) -> tuple[NDArray[np.int64], Ranks]:
    """Each key once, and the highest of its ranks."""
    if keys.size == 0:
        return keys, ranks
    order = np.argsort(keys)
    keys = keys[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    return keys[starts], np.maximum.reduceat(ranks[order], starts)


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


Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LesionCounts:
    """Lesions at some thresholds; every array has the shape of the thresholds asked for.

    Attributes:
        detected_reference: reference lesions that a predicted one touches.
        n_prediction: predicted lesions.
        false_positives: predicted lesions that touch no reference lesion.
    """

    detected_reference: Counts
    n_prediction: Counts
    false_positives: Counts


@dataclass(frozen=True, eq=False)
class LesionCurve:
    """The lesions of one study at every threshold of its probability map.

    Attributes:
        thresholds: where a count changes, in the map's own values, float64 of shape (K,) in descending order. The
            counts at one hold from there down to just above the next; above the first all are 0.
        detected_reference: reference lesions that a predicted one touches, shape (K,).
        n_prediction: predicted lesions, shape (K,).
        false_positives: predicted lesions that touch no reference lesion, shape (K,). They are not monotone: false
            lesions that merge with each other or with a true one become fewer.
        n_reference: reference lesions.
    """

    thresholds: NDArray[np.float64]
    detected_reference: Counts
    n_prediction: Counts
    false_positives: Counts
    n_reference: int

    def at(self, thresholds: ArrayLike) -> LesionCounts:
        """The counts where the prediction is {p ≥ threshold}, for thresholds of any shape and order.

        Thresholds are compared as float64. A float32 map has no voxel of exactly 0.7 but one just below it: ask at
        `np.float32(0.7)` where that voxel is meant to count. Below `lowest` nothing is added.

        Raises:
            ValueError: if a threshold is NaN.
        """
        asked = np.asarray(thresholds, dtype=np.float64)
        if np.isnan(asked).any():
            raise ValueError("A threshold must be a number, found NaN.")
        steps = np.asarray(self.thresholds.size - np.searchsorted(self.thresholds[::-1], asked, side="left"))
        return LesionCounts(
            *(
                np.asarray(np.concatenate([[0], counts])[steps], dtype=np.int64)
                for counts in (self.detected_reference, self.n_prediction, self.false_positives)
            )
        )


def lesion_curve(
    reference: NDArray[Any],
    probability: NDArray[Any],
    spacing: tuple[float, float, float],
    *,
    connectivity: Connectivity = 26,
    min_volume_mm3: float = 0.0,
    lowest: float = 0.0,
) -> LesionCurve:
    """Count the lesions of {p ≥ t} for every t: those found, those predicted, those false.

    A reference lesion is found where a predicted one shares a voxel with it, a predicted one is false where it
    shares none with any reference lesion. Time and memory follow the voxels above `lowest`: 50 thousand take less
    than 0.1 s, 7 million of a smooth map 3 to 5 s and 0.45 GB, of white noise up to 12 s.

    Args:
        reference: mask of 0 and 1, shape (I, J, K).
        probability: the same shape; floats within 0 … 1, or integers of any range, such as 0 … 255.
        spacing: edge lengths of a voxel in mm.
        connectivity: which neighbouring voxels make one lesion.
        min_volume_mm3: lesions strictly smaller are background, in the reference and at each threshold in the
            prediction.
        lowest: voxels of this value or less are never lesion, so that the zeros do not become one.

    Returns:
        The curve; without voxels above `lowest` it has no threshold, without reference lesion every predicted one
        is false.

    Raises:
        ValueError: if the reference is not binary, the two are not 3D and of one shape, the probabilities are not
            finite and within 0 … 1, or an option is impossible.
    """
    _check(reference, probability, lowest)
    if probability.flags.f_contiguous and not probability.flags.c_contiguous:  # read it in the order it lies in memory
        reference, probability = reference.T, probability.T
    active = probability > np.float64(lowest)
    box = lesion_box(active, reference)
    voxel = voxel_volume(spacing)
    labels, count = label_components(reference[box], connectivity)
    labels, n_reference = keep_labels(labels, stays(component_sizes(labels, count), min_volume_mm3, voxel))
    active = active[box]
    values = probability[box][active]
    order = _ascending(values)
    ranks = np.empty(values.size, dtype=np.int32)
    ranks[order] = np.arange(1, values.size + 1, dtype=np.int32)

    basins = find_basins(ranks, active, connectivity)
    least = max(1, ceil(min_volume_mm3 * (1 - 1e-9) / voxel))  # in voxels, tolerant as `stays` is
    events = _events(basins, opening_levels(basins, least), ranks, labels[active], n_reference)
    return _count(events, values[order].astype(np.float64), n_reference)


@dataclass(frozen=True, eq=False)
class _Events:
    """Ranks at which a count rises or falls by one; 0 is never."""

    appear: Ranks
    join: Ranks
    join_or_turn_true: Ranks
    detect: Ranks


def _check(reference: NDArray[Any], probability: NDArray[Any], lowest: float) -> None:
    if not isfinite(lowest):
        raise ValueError(f"The lowest value must be a finite number, found {lowest}.")
    real = np.issubdtype(probability.dtype, np.floating)
    if not (real or np.issubdtype(probability.dtype, np.integer) or probability.dtype == np.bool_):
        raise ValueError(f"The probability map must hold real numbers, found the type {probability.dtype}.")
    check_masks(reference, np.broadcast_to(np.False_, probability.shape))
    if real:
        check_probability(probability, reference.shape)


def _ascending(values: NDArray[Any]) -> NDArray[np.intp]:
    """Places of the values from the lowest to the highest, equal ones by place: plateaus then have few peaks."""
    if values.dtype not in (np.float16, np.float32):
        return np.argsort(values, kind="stable")
    # Floats of 0 or more are in the order of their bits, and plain integers sort ten times as fast as a stable
    # argsort. Adding 0 turns -0 into 0.
    bits = (values.astype(np.float32) + np.float32(0)).view(np.uint32).astype(np.int64)
    return np.sort((bits << 32) | np.arange(values.size)) & 0xFFFFFFFF


def _events(basins: Basins, levels: Ranks, ranks: Ranks, labels: Labels, n_reference: int) -> _Events:
    """What happens to the map once every voxel is cut down to its basin's level."""
    join = np.minimum(basins.saddles, levels[basins.joins].min(axis=1, initial=np.iinfo(np.int32).max))
    labelled = labels > 0
    of, rank = basins.of[ranks[labelled]], ranks[labelled]
    rank = np.minimum(rank, levels[of])
    detect = np.zeros(n_reference, dtype=np.int32)
    np.maximum.at(detect, labels[labelled] - 1, rank)

    # One more node joins every basin where its first reference voxel comes: what hangs on to it is true.
    touches = np.zeros(levels.size, dtype=np.int32)
    np.maximum.at(touches, of, rank)
    touched = np.flatnonzero(touches)
    to_truth = np.stack([touched, np.full(touched.size, levels.size)], axis=1).astype(np.int32)
    ends = np.concatenate([basins.joins[join > 0], to_truth])
    _, join_or_turn_true = spanning_forest(ends, np.concatenate([join[join > 0], touches[touched]]), levels.size + 1)
    return _Events(levels, join, join_or_turn_true, detect)


def _count(events: _Events, values: NDArray[np.float64], n_reference: int) -> LesionCurve:
    """Sum the events up from the highest value down; `values` holds that of each rank from 1, ascending."""
    appear, join, join_or_true, detect = (
        values[ranks[ranks > 0] - 1] for ranks in (events.appear, events.join, events.join_or_turn_true, events.detect)
    )
    thresholds = np.unique(np.concatenate([appear, join, join_or_true, detect]))[::-1]

    def so_far(at: NDArray[np.float64]) -> Counts:
        return at.size - np.searchsorted(np.sort(at), thresholds, side="left").astype(np.int64)

    counts = np.stack([so_far(detect), so_far(appear) - so_far(join), so_far(appear) - so_far(join_or_true)])
    changes = np.diff(counts, axis=1, prepend=0).any(axis=0)
    detected, n_prediction, false = counts[:, changes]
    return LesionCurve(thresholds[changes], detected, n_prediction, false, n_reference)


@dataclass(frozen=True, eq=False)
class Froc:
    """The free-response ROC of several studies, all cut at the same threshold (Bunch et al., J Appl Photogr Eng
    4:166, 1978; Chakraborty, Med Phys 16:561, 1989).

    Attributes:
        thresholds: where a count of any study changes, shape (K,) in descending order.
        sensitivity: detected reference lesions of all studies / reference lesions of all studies, shape (K,); NaN
            where there is none.
        mean_sensitivity: mean over the studies that have a reference lesion of their own sensitivity, shape (K,);
            NaN where no study has one.
        false_positives_per_study: mean over all studies, those without reference lesion too, shape (K,).
        n_studies: how many studies.
        n_reference: reference lesions of all studies.
    """

    thresholds: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    mean_sensitivity: NDArray[np.float64]
    false_positives_per_study: NDArray[np.float64]
    n_studies: int
    n_reference: int


def pool_curves(curves: Sequence[LesionCurve]) -> Froc:
    """Put the curves of several studies together, every study cut at the same threshold.

    Args:
        curves: one per study, from maps of one range of values.

    Raises:
        ValueError: if there is no curve.
    """
    if not curves:
        raise ValueError("A FROC needs the curve of at least one study, found none.")
    thresholds = np.unique(np.concatenate([curve.thresholds for curve in curves]))[::-1]
    detected, false = np.zeros((2, thresholds.size), dtype=np.int64)
    ratios = np.zeros(thresholds.size)
    for curve in curves:
        counts = curve.at(thresholds)
        detected += counts.detected_reference
        false += counts.false_positives
        if curve.n_reference:
            ratios += counts.detected_reference / curve.n_reference
    n_reference = sum(curve.n_reference for curve in curves)
    with_lesions = sum(curve.n_reference > 0 for curve in curves)
    undefined = np.full(thresholds.size, nan)
    return Froc(
        thresholds=thresholds,
        sensitivity=detected / n_reference if n_reference else undefined,
        mean_sensitivity=ratios / with_lesions if with_lesions else undefined,
        false_positives_per_study=false / len(curves),
        n_studies=len(curves),
        n_reference=n_reference,
    )


def sensitivity_at(froc: Froc, false_positives: float) -> float:
    """The highest sensitivity with at most so many false positives per study.

    A falling threshold first adds false positives and then joins them, until all that the map holds is one lesion that
    finds everything and is not even false. Such thresholds do not count: each has as many false positives as any
    threshold above it had.

    The curve is a step function of the operating points that exist; nothing is interpolated between them. LUNA16
    averages this over 1/8, 1/4, 1/2, 1, 2, 4 and 8 (doi 10.1016/j.media.2017.06.015), between points interpolated.

    Args:
        froc: as from `pool_curves`; its pooled `sensitivity` is read.
        false_positives: mean number per study that is bearable, 0 or more; infinity gives the highest of all.

    Returns:
        A value within 0 … 1; 0 where no threshold has so few, NaN where there is no reference lesion.

    Raises:
        ValueError: if the number is negative or NaN.
    """
    if not false_positives >= 0:
        raise ValueError(f"False positives per study must be 0 or more, found {false_positives}.")
    if not froc.n_reference:
        return nan
    return float(froc.sensitivity[_met_so_far(froc) <= false_positives].max(initial=0.0))


def froc_area(froc: Froc, up_to: float) -> float:
    """The mean of `sensitivity_at` over all numbers of false positives per study from 0 to a limit.

    It is the area under the FROC curve up to a limit (Bunch et al., J Appl Photogr Eng 4:166, 1978; Chakraborty,
    Med Phys 16:561, 1989), divided by the limit; the curve is the step function of `sensitivity_at`.

    Args:
        froc: as from `pool_curves`.
        up_to: false positives per study at which the area ends, above 0 and finite.

    Returns:
        A value within 0 … 1, NaN where there is no reference lesion.

    Raises:
        ValueError: if the limit is not positive and finite.
    """
    if not 0 < up_to < inf:
        raise ValueError(f"The area must end at a positive number of false positives per study, found {up_to}.")
    if not froc.n_reference:
        return nan
    false = _met_so_far(froc)
    within = false <= up_to
    widths = np.diff(false[within], append=up_to)
    return float(np.maximum.accumulate(froc.sensitivity[within]) @ widths) / up_to


def _met_so_far(froc: Froc) -> NDArray[np.float64]:
    """The most false positives per study at each threshold and any above it, shape (K,), ascending."""
    return np.maximum.accumulate(froc.false_positives_per_study)


Score = Callable[[NDArray[np.bool_]], float]


@dataclass(frozen=True)
class ThresholdChoice:
    """A threshold and what it was chosen from.

    Attributes:
        threshold: the chosen one; the default where no candidate has a mean score above zero.
        candidates: ascending.
        means: the mean score at each candidate over the studies in which it is defined; NaN without any.
        n_studies: studies with a defined score at the chosen threshold; 0 where the default was kept.
    """

    threshold: float
    candidates: tuple[float, ...]
    means: tuple[float, ...]
    n_studies: int


def choose_threshold(
    studies: Iterable[tuple[NDArray[Any], Score]], candidates: Sequence[float], default: float
) -> ThresholdChoice:
    """The candidate with the highest mean score; of equally good ones that nearest to the default.

    Give it validation studies alone: a threshold that has seen the test studies makes their scores worthless.

    Args:
        studies: of each the probability map, 0 … 1, and a function that scores the mask {probability ≥ threshold},
            0 … 1 or NaN where it is undefined.
        candidates: thresholds to try, in any order.
        default: what is kept where no candidate finds anything.

    Raises:
        ValueError: if there is no candidate.
    """
    if not candidates:
        raise ValueError("There must be at least one threshold to choose from, found none.")
    tried = sorted(set(candidates))
    scores = np.array(
        [[score(probability >= threshold) for threshold in tried] for probability, score in studies], dtype=float
    ).reshape(-1, len(tried))
    defined = ~np.isnan(scores)
    means = [fmean(column[there]) if there.any() else np.nan for column, there in zip(scores.T, defined.T, strict=True)]
    best = max((mean for mean in means if mean == mean), default=0.0)
    if best <= 0:
        return ThresholdChoice(default, tuple(tried), tuple(means), 0)
    equal = [index for index, mean in enumerate(means) if mean >= best - 1e-12]
    chosen = min(equal, key=lambda index: (abs(tried[index] - default), tried[index]))
    return ThresholdChoice(tried[chosen], tuple(tried), tuple(means), int(defined[:, chosen].sum()))

"""The lesions of one subject: drawn (how many, how large, how bright), placed in the brain, grown, and rendered."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

from lesionseg.synthetic.anatomy import Anatomy, Grid, Mask, Volume, smooth_field
from lesionseg.synthetic.config import ENHANCED, Enhancement, Evolution, LesionParameters, Zone
from lesionseg.synthetic.distributions import uniform

_TRIES = 20  # to draw a load that leaves room for confluent lesions, and to place one lesion
_LEAST_SHARE = 0.3  # of the volume that was drawn: a lesion with room for less is placed elsewhere
_WIDER, _BY = 5, 1.6  # how often a box is made wider, and by what factor


@dataclass(frozen=True)
class Lesion:
    """What was drawn of one lesion."""

    zone: Zone  # where its centre lies
    volumes_mm3: tuple[float, ...]  # in each session; 0 where it is not there
    axis_ratios: tuple[float, ...]  # of the three axes; their product is 1
    border_mm: float  # width of the soft border
    signals: tuple[dict[str, float], ...]  # for each layer, what it adds to each contrast, in SD of the brain
    enhancing: tuple[int, ...] = ()  # the sessions, from 1, in which it takes up contrast agent
    enhancement: float = 0.0  # what that adds to T1 after contrast, in SD of the brain
    ring_depth: float | None = None  # where a ring of enhancement ends (0 border, 1 centre); None: there is no ring
    centre: tuple[int, ...] | None = None  # voxel; None until it is placed
    voxels: tuple[int, ...] = ()  # in each session's mask


def draw_lesions(rng: np.random.Generator, parameters: LesionParameters, sessions: int) -> list[Lesion]:
    """Draw all lesions of a subject, not yet where they lie: the first session's, then those new in the second."""
    first = _first_volumes(rng, parameters)
    volumes: list[tuple[float, ...]] = [(volume,) for volume in first]
    if sessions == 2 and parameters.evolution:
        volumes = _evolve(rng, parameters.evolution, first)
    lesions = [_draw_lesion(rng, parameters, over_time) for over_time in volumes]
    return _enhance(rng, parameters.enhancement, lesions) if parameters.enhancement else lesions


def _first_volumes(rng: np.random.Generator, parameters: LesionParameters) -> list[float]:
    """Draw the volumes in mm³ of the first session's lesions."""
    count_share, load_share = _correlated_shares(rng, parameters.load_correlation)
    count = max(1, round(parameters.count.at(count_share)))
    if parameters.load_ml is None:
        return parameters.volume_mm3.draw(rng, count)
    load = 1000 * parameters.load_ml.at(load_share)
    confluent = min(max(1, int(rng.binomial(count, parameters.confluent_share))), count - 1)
    for _ in range(_TRIES):
        small = np.array(parameters.volume_mm3.draw(rng, count - confluent))
        if small.sum() < load:
            break
    else:  # too many lesions for confluent ones among them
        small, confluent = np.array(parameters.volume_mm3.draw(rng, count)), 0
        small = np.maximum(small * load / small.sum(), parameters.volume_mm3.low)
    evenness = np.full(confluent, parameters.confluent_evenness)
    large = (load - small.sum()) * rng.dirichlet(evenness) if confluent else np.zeros(0)
    return [float(volume) for volume in (*small, *np.maximum(large, parameters.volume_mm3.low))]


def _correlated_shares(rng: np.random.Generator, rank_correlation: float) -> tuple[float, float]:
    """Draw two numbers from 0 to 1 with this Spearman correlation (Gaussian copula: r = 2 sin(pi/6 · rho))."""
    correlation = 2 * np.sin(np.pi / 6 * rank_correlation)
    first, second = rng.standard_normal(2)
    return float(special.ndtr(first)), float(special.ndtr(correlation * first + np.sqrt(1 - correlation**2) * second))


def _evolve(rng: np.random.Generator, evolution: Evolution, volumes: Sequence[float]) -> list[tuple[float, ...]]:
    """Draw each lesion's volumes in both sessions; the new ones come last."""
    both: list[tuple[float, ...]] = []
    for volume in volumes:
        change, factor = rng.random(), uniform(rng, evolution.factor)
        if volume > evolution.largest_mm3 or change > evolution.growing + evolution.shrinking:
            factor = 1.0
        elif change > evolution.growing:
            factor = 1 / factor
        both.append((volume, volume * factor))
    if rng.random() < evolution.nothing_new:
        return both
    count = max(1, round(evolution.new.at(float(rng.random()))))
    return both + [(0.0, volume) for volume in evolution.new_volume_mm3.draw(rng, count)]


def _draw_lesion(rng: np.random.Generator, parameters: LesionParameters, volumes: tuple[float, ...]) -> Lesion:
    weights = np.array(list(parameters.zones.values()))
    zone = list(parameters.zones)[int(rng.choice(len(weights), p=weights / weights.sum()))]
    confluent = max(volumes) > parameters.confluent_mm3
    if confluent and parameters.hugging and parameters.zones.get("periventricular"):
        zone = "periventricular"
    ratios = np.exp(np.log(parameters.axis_ratios) + parameters.axis_log_sd * rng.standard_normal(2))
    first, second = np.maximum(1, ratios)
    axes = np.array([first * second, second, 1.0])
    quantile = {name: float(rng.random()) for layer in parameters.layers for name in layer.signal}
    return Lesion(
        zone=zone,
        volumes_mm3=volumes,
        axis_ratios=tuple(float(axis) for axis in axes / axes.prod() ** (1 / 3)),
        border_mm=uniform(rng, parameters.border_mm),
        signals=tuple(
            {name: low + quantile[name] * (high - low) for name, (low, high) in layer.signal.items()}
            for layer in parameters.layers
        ),
    )


def _enhance(rng: np.random.Generator, enhancement: Enhancement, lesions: list[Lesion]) -> list[Lesion]:
    """Let some take up contrast agent in the session in which they are seen first; large ones perhaps as a ring."""
    active = rng.random() < enhancement.subjects
    draws = rng.random((2, len(lesions)))
    signals = [uniform(rng, enhancement.signal) for _ in lesions]
    rings = [uniform(rng, enhancement.ring_depth) for _ in lesions]
    able = [number for number, one in enumerate(lesions) if max(one.volumes_mm3) <= enhancement.largest_mm3]
    if not active or not able:
        return lesions
    chosen = [
        number
        for number in able
        if draws[0, number] < (enhancement.lesions if lesions[number].volumes_mm3[0] else enhancement.new_lesions)
    ]
    for number in chosen or [able[int(np.argmin(draws[0, able]))]]:
        volumes = lesions[number].volumes_mm3
        ring = draws[1, number] < enhancement.ring and max(volumes) > enhancement.ring_mm3
        lesions[number] = replace(
            lesions[number],
            enhancing=(_first_session(volumes),),
            enhancement=signals[number],
            ring_depth=rings[number] if ring else None,
        )
    return lesions


def _first_session(volumes_mm3: Sequence[float]) -> int:
    """Return the first session, from 1, in which a lesion of these volumes is seen."""
    return 1 + next(session for session, volume in enumerate(volumes_mm3) if volume)


@dataclass(frozen=True)
class Place:
    """Where one lesion begins to grow."""

    centre: tuple[int, ...]  # voxel
    shift: npt.NDArray[np.float64]  # from that voxel's middle to the lesion's own, in voxels, less than half of one
    directions: npt.NDArray[np.float64]  # unit vectors along its three axes, the longest first, as rows (3, 3)


def zone_voxels(anatomy: Anatomy, parameters: LesionParameters) -> dict[Zone, npt.NDArray[np.intp]]:
    """Return for each zone that has lesions the voxels in which their centres may lie, as flat indices."""
    limits = parameters.zone_limits
    white = anatomy.white > 0.7
    above = white & (anatomy.infratentorial < 0.5)
    beside = (anatomy.length > -limits.beyond_horns) & (anatomy.length < 1 + limits.beyond_horns)
    near_ventricle = (anatomy.ventricle_mm < limits.periventricular_mm) & beside
    near_cortex = anatomy.cortex_mm < limits.juxtacortical_mm
    below = (anatomy.infratentorial > 0.5) & (anatomy.fluid < 0.2) & (anatomy.depth_mm > limits.infratentorial_mm)
    masks: dict[Zone, Mask] = {
        "periventricular": above & near_ventricle,
        "juxtacortical": above & near_cortex & ~near_ventricle,
        "deep": above & ~near_cortex & ~near_ventricle,
        "infratentorial": below & (anatomy.white > 0.4),
        "cortical": (anatomy.cortex > 0.6) & (anatomy.infratentorial < 0.5),
        "deep_grey": anatomy.deep_grey > 0.6,
    }
    return {zone: np.flatnonzero(masks[zone]) for zone in parameters.zones}


def draw_place(
    rng: np.random.Generator,
    grid: Grid,
    anatomy: Anatomy,
    parameters: LesionParameters,
    zone: Zone,
    candidates: npt.NDArray[np.intp],
    blocked: Mask,
) -> Place | None:
    """Draw one of the candidate voxels and the lesion's directions there; None where that voxel is blocked."""
    drawn = np.unravel_index(candidates[rng.integers(candidates.size)], grid.shape)
    if blocked[drawn]:
        return None
    centre = tuple(int(i) for i in drawn)
    shift = rng.uniform(-0.4, 0.4, 3)
    directions = rng.standard_normal((3, 3))
    if zone == "periventricular":  # along the veins, straight away from the ventricle's wall
        box = tuple(slice(max(0, middle - 1), middle + 2) for middle in centre)
        away = np.array([np.mean(part) for part in np.gradient(anatomy.ventricle_mm[box], *grid.spacing)])
        unit = away / max(float(np.linalg.norm(away)), 1e-6)
        directions[0] = unit + parameters.vein_scatter * directions[0]
    return Place(centre, shift, np.linalg.qr(directions.T)[0].T)


@dataclass(frozen=True)
class PlacedLesion:
    """A lesion on the grid, in the box ``where``."""

    lesion: Lesion
    where: tuple[slice, ...]
    cost: Volume  # in mm, how far from the centre each voxel is as the lesion grows; infinite where it cannot
    reach: tuple[float, ...]  # for each session, the cost at its border
    masks: tuple[Mask, ...]  # for each session

    def depth(self, session: int) -> Volume:
        """Return 0 at the border and beyond it, 1 at the centre."""
        reach = np.float32(max(self.reach[session], 1e-3))
        depth: Volume = np.clip((reach - self.cost) / reach, 0, 1)
        return depth

    def profile(self, session: int) -> Volume:
        """Return 1 inside and 0 outside, with a soft border in between; nothing across a sulcus."""
        reach = np.float32(self.reach[session])
        width = np.float32(min(self.lesion.border_mm, max(0.5, self.reach[session])))  # a small one has no wide border
        soft: Volume = np.clip(np.float32(0.5) + (reach - self.cost) / width, 0, 1)
        soft[(self.cost <= reach) & ~self.masks[session]] = 0
        return soft

    def described(self) -> dict[str, Any]:
        """Return what was drawn of it, for JSON, with the first session that shows it, from 1."""
        return {"session": _first_session(self.lesion.volumes_mm3), **vars(self.lesion)}


def place_lesions(
    rng: np.random.Generator, grid: Grid, anatomy: Anatomy, parameters: LesionParameters, lesions: Sequence[Lesion]
) -> list[PlacedLesion]:
    """Grow the lesions, the largest first, none touching another (26 neighbours) in any session.

    Where there is no room for one it is left out; a lesion that finds too little room stays smaller than drawn.
    """
    candidates = zone_voxels(anatomy, parameters)
    roughness = np.exp(np.float32(parameters.roughness) * smooth_field(rng, grid, parameters.roughness_mm))
    grey = anatomy.cortex + anatomy.deep_grey / 2
    resistance: Volume = roughness * (1 + np.float32(parameters.spares_grey) * grey)
    blocked = (anatomy.fluid > 0.5) | (anatomy.depth_mm <= 0) | ~anatomy.brain
    placed = []
    for lesion in sorted(lesions, key=lambda one: -max(one.volumes_mm3)):
        for _ in range(_TRIES if candidates[lesion.zone].size else 0):
            place = draw_place(rng, grid, anatomy, parameters, lesion.zone, candidates[lesion.zone], blocked)
            found = _grow(grid, anatomy, parameters, resistance, blocked, lesion, place) if place else None
            if found:
                _block(blocked, found)
                placed.append(found)
                break
    return placed


def _grow(
    grid: Grid,
    anatomy: Anatomy,
    parameters: LesionParameters,
    resistance: Volume,
    blocked: Mask,
    lesion: Lesion,
    place: Place,
) -> PlacedLesion | None:
    """Return the lesion at its place, or None where it has room for too little of itself in any session.

    It grows within a box; where it meets the box' wall, the box is made wider, or the lesion would be flat there.
    ``resistance`` is a factor on the distance from its centre.
    """
    axes = place.directions / np.array(lesion.axis_ratios)[:, None]
    least = parameters.minimum_voxels
    wanted = [max(round(volume / grid.voxel_mm3), least) if volume else 0 for volume in lesion.volumes_mm3]
    largest = max(lesion.volumes_mm3)
    radius = (3 * largest / (4 * np.pi)) ** (1 / 3)
    reach = 2 * radius * max(lesion.axis_ratios) + 2 * max(grid.spacing) + lesion.border_mm
    hugs = parameters.hugging and largest > parameters.confluent_mm3 and lesion.zone == "periventricular"
    for _ in range(_WIDER):
        where = tuple(
            slice(max(0, middle - int(reach / step)), min(size, middle + int(reach / step) + 1))
            for middle, step, size in zip(place.centre, grid.spacing, grid.shape, strict=True)
        )
        cost = _distance(grid, where, np.add(place.centre, place.shift), axes)
        if hugs:
            away = np.maximum(anatomy.ventricle_mm[where] - parameters.hugging_mm, 0)
            cost = np.hypot(cost, np.float32(parameters.hugging) * away)
        cost *= resistance[where]
        cost[blocked[where]] = np.inf
        here = tuple(middle - side.start for middle, side in zip(place.centre, where, strict=True))
        masks, borders = zip(*(_up_to(cost, here, count) for count in wanted), strict=True)
        if not any(_meets_wall(mask, where, grid) for mask in masks):
            break
        reach *= _BY
    sizes = tuple(int(mask.sum()) for mask in masks)
    if any(count and size < max(least, _LEAST_SHARE * count) for size, count in zip(sizes, wanted, strict=True)):
        return None
    return PlacedLesion(replace(lesion, centre=place.centre, voxels=sizes), where, cost, borders, masks)


def _distance(
    grid: Grid, where: tuple[slice, ...], centre: npt.NDArray[np.float64], axes: npt.NDArray[np.float64]
) -> Volume:
    """Return the distance in mm to the centre (in voxels), along each axis (a row) relative to its length."""
    offsets = [
        ((np.arange(side.start, side.stop) - middle) * step).astype(np.float32)
        for side, middle, step in zip(where, centre, grid.spacing, strict=True)
    ]
    x, y, z = np.meshgrid(*offsets, indexing="ij", sparse=True)
    squares = np.zeros(tuple(part.size for part in offsets), dtype=np.float32)
    for row in axes.astype(np.float32):
        squares += (row[0] * x + row[1] * y + row[2] * z) ** 2
    distance: Volume = np.sqrt(squares)
    return distance


def _up_to(cost: Volume, here: tuple[int, ...], wanted: int) -> tuple[Mask, float]:
    """Return the connected voxels around ``here`` of the lowest cost, about ``wanted``, and the cost at their border.

    The lowest costs may lie across a sulcus: only what hangs together counts, so the limit is raised until that is
    large enough.
    """
    if not wanted:
        return np.zeros(cost.shape, dtype=bool), 0.0

    def connected(limit: float) -> Mask:
        below = cost <= limit
        labels = cc3d.connected_components(below, connectivity=26)
        component: Mask = (labels == labels[here]) & below
        return component

    finite = np.sort(cost[np.isfinite(cost)])
    low, high = min(wanted, finite.size) - 1, finite.size - 1
    best = connected(finite[low])
    index = low
    while best.sum() < 0.95 * wanted and low < high:
        index = min(high, low + max(1, (wanted - int(best.sum()))))
        larger = connected(finite[index])
        if larger.sum() > 1.1 * wanted + 1:  # two parts met: stay with the smaller
            break
        best, low = larger, index
    return best, float(0.5 * (finite[low] + finite[min(low + 1, high)]))


def _meets_wall(mask: Mask, where: tuple[slice, ...], grid: Grid) -> bool:
    """Return whether a mask reaches a side of its box that is not the grid's own."""
    for axis, (side, size) in enumerate(zip(where, grid.shape, strict=True)):
        first, last = np.take(mask, 0, axis=axis), np.take(mask, -1, axis=axis)
        if (side.start > 0 and first.any()) or (side.stop < size and last.any()):
            return True
    return False


def _block(blocked: Mask, placed: PlacedLesion) -> None:
    """Keep the lesion's voxels and their neighbours free of other lesions."""
    wide = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in placed.where)
    inner = tuple(
        slice(side.start - outer.start, side.stop - outer.start) for side, outer in zip(placed.where, wide, strict=True)
    )
    mask = np.zeros(blocked[wide].shape, dtype=bool)
    mask[inner] = np.logical_or.reduce(placed.masks)
    blocked[wide] |= ndimage.binary_dilation(mask, np.ones((3, 3, 3), dtype=bool))


def lesion_mask(grid: Grid, lesions: Sequence[PlacedLesion], session: int) -> Mask:
    """Return all voxels of the lesions in that session, counted from 0."""
    mask = np.zeros(grid.shape, dtype=bool)
    for one in lesions:
        mask[one.where] |= one.masks[session]
    return mask


def enhancing_mask(grid: Grid, lesions: Sequence[PlacedLesion], session: int, depth: float) -> Mask:
    """Return what enhances in that session, from the depth where it begins, with what a ring encloses."""
    mask = np.zeros(grid.shape, dtype=bool)
    for one in lesions:
        if session + 1 in one.lesion.enhancing:
            mask[one.where] |= one.masks[session] & (one.depth(session) >= depth)
    return mask


def lesion_signal(
    grid: Grid,
    lesions: Sequence[PlacedLesion],
    parameters: LesionParameters,
    session: int,
    contrast: str,
    unevenness: Volume,
) -> Volume:
    """Return what the lesions add to a contrast in that session, counted from 0, in SD of the brain.

    ``unevenness`` is a field of mean 0 and SD 1 that makes the inside of lesions uneven.
    """
    signal = np.zeros(grid.shape, dtype=np.float32)
    ends = np.array([layer.until for layer in parameters.layers])
    for one in lesions:
        if not one.masks[session].any():
            continue
        lesion, depth = one.lesion, one.depth(session)
        levels = np.array([layer.get(contrast, 0.0) for layer in lesion.signals], dtype=np.float32)
        level = levels[np.minimum(np.searchsorted(ends, depth), len(ends) - 1)] if len(levels) > 1 else levels[0]
        logs = np.log(lesion.volumes_mm3[session]), np.log(parameters.small_mm3)
        added = np.float32(np.interp(*logs, (parameters.small_signal, 1))) * level
        added = added * (1 + np.float32(parameters.signal_scatter) * unevenness[one.where])
        if contrast == ENHANCED and parameters.enhancement and session + 1 in lesion.enhancing:
            ring = lesion.ring_depth if lesion.ring_depth is not None else np.inf
            added = added + np.float32(lesion.enhancement) * ((depth >= parameters.enhancement.depth) & (depth < ring))
        signal[one.where] += one.profile(session) * added
    return signal

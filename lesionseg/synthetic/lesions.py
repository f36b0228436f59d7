"""What is drawn of a subject's lesions: how many, how large, of which shape, how bright, and how they evolve."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

from lesionseg.synthetic.anatomy import Anatomy, Grid, Mask, Volume, smooth_field
from lesionseg.synthetic.config import (
    ENHANCED,
    Enhancement,
    Evolution,
    LesionParameters,
    Volumes,
    Zone,
    ZoneLimits,
    uniform,
)

_TRIES = 20


@dataclass(frozen=True)
class Lesion:
    """What was drawn of one lesion.

    Args:
        zone: where its centre lies.
        volumes_mm3: in each session; 0 where it is not there.
        axis_ratios: of the three axes; their product is 1.
        border_mm: width of the soft border.
        signals: for each layer, what it adds to each contrast, in SD of the brain.
        enhancing: the sessions, from 1, in which it takes up contrast agent.
        enhancement: what that adds to T1 after contrast, in SD of the brain.
        ring_depth: how deep a ring of enhancement reaches (0 border, 1 centre); None: it enhances as a whole.
        centre: voxel; None until it is placed.
        voxels: in each session's mask; likewise.
    """

    zone: Zone
    volumes_mm3: tuple[float, ...]
    axis_ratios: tuple[float, ...]
    border_mm: float
    signals: tuple[dict[str, float], ...]
    enhancing: tuple[int, ...] = ()
    enhancement: float = 0.0
    ring_depth: float | None = None
    centre: tuple[int, ...] | None = None
    voxels: tuple[int, ...] = ()


def draw_lesions(rng: np.random.Generator, parameters: LesionParameters, sessions: int) -> list[Lesion]:
    """Draw all lesions of a subject, not yet where they lie.

    Args:
        rng: of the lesions alone.
        parameters: what they are drawn from.
        sessions: 1 or 2; without ``parameters.evolution`` all lesions are of one session.

    Returns:
        Those of the first session, then those that are new in the second.
    """
    first = _volumes(rng, parameters)
    volumes: list[tuple[float, ...]] = [(volume,) for volume in first]
    if sessions == 2 and parameters.evolution:
        volumes = _evolve(rng, parameters.evolution, first)
    lesions = [_draw_lesion(rng, parameters, over_time) for over_time in volumes]
    return _enhance(rng, parameters.enhancement, lesions) if parameters.enhancement else lesions


def hugs_ventricles(parameters: LesionParameters, lesion: Lesion) -> bool:
    """Whether a lesion is of those that spread along the ventricles: confluent ones beside them."""
    confluent = _is_confluent(parameters, lesion.volumes_mm3)
    return bool(parameters.hugging) and confluent and lesion.zone == "periventricular"


def _volumes(rng: np.random.Generator, parameters: LesionParameters) -> list[float]:
    """Volumes in mm³ of the first session's lesions."""
    count_share, load_share = _correlated_shares(rng, parameters.load_correlation)
    count = max(1, round(parameters.count.at(count_share)))
    if parameters.load_ml is None:
        return _draw_volumes(rng, parameters.volume_mm3, count)
    load = 1000 * parameters.load_ml.at(load_share)
    confluent = min(max(1, int(rng.binomial(count, parameters.confluent_share))), count - 1)
    for _ in range(_TRIES):
        small = np.array(_draw_volumes(rng, parameters.volume_mm3, count - confluent))
        if small.sum() < load:
            break
    else:  # too many lesions for confluent ones among them
        small, confluent = np.array(_draw_volumes(rng, parameters.volume_mm3, count)), 0
        small = np.maximum(small * load / small.sum(), parameters.volume_mm3.low)
    evenness = np.full(confluent, parameters.confluent_evenness)
    large = (load - small.sum()) * rng.dirichlet(evenness) if confluent else np.zeros(0)
    return [float(volume) for volume in (*small, *np.maximum(large, parameters.volume_mm3.low))]


def _correlated_shares(rng: np.random.Generator, rank_correlation: float) -> tuple[float, float]:
    """Two numbers from 0 to 1 with this Spearman correlation (Gaussian copula: r = 2 sin(pi/6 · rho))."""
    correlation = 2 * np.sin(np.pi / 6 * rank_correlation)
    first, second = rng.standard_normal(2)
    return float(special.ndtr(first)), float(special.ndtr(correlation * first + np.sqrt(1 - correlation**2) * second))


def _draw_volumes(rng: np.random.Generator, volumes: Volumes, count: int) -> list[float]:
    """Log-normal, cut off at ``low`` and ``high``."""
    middle, spread = np.log(volumes.median), max(volumes.log_sd, 1e-9)
    low, high = (special.ndtr((np.log(limit) - middle) / spread) for limit in (volumes.low, volumes.high))
    drawn = np.exp(middle + spread * special.ndtri(rng.uniform(low, high, count)))
    return [float(volume) for volume in np.clip(drawn, volumes.low, volumes.high)]


def _evolve(rng: np.random.Generator, evolution: Evolution, volumes: Sequence[float]) -> list[tuple[float, ...]]:
    """Each lesion's volumes in both sessions; the new ones come last."""
    both: list[tuple[float, ...]] = []
    for volume in volumes:
        fate, factor = rng.random(), uniform(rng, evolution.factor)
        if volume > evolution.largest_mm3 or fate > evolution.growing + evolution.shrinking:
            factor = 1.0
        elif fate > evolution.growing:
            factor = 1 / factor
        both.append((volume, volume * factor))
    if rng.random() < evolution.nothing_new:
        return both
    count = max(1, round(evolution.new.at(float(rng.random()))))
    return both + [(0.0, volume) for volume in _draw_volumes(rng, evolution.new_volume_mm3, count)]


def _draw_lesion(rng: np.random.Generator, parameters: LesionParameters, volumes: tuple[float, ...]) -> Lesion:
    weights = np.array(list(parameters.zones.values()))
    zone = list(parameters.zones)[int(rng.choice(len(weights), p=weights / weights.sum()))]
    if _is_confluent(parameters, volumes) and parameters.hugging and parameters.zones.get("periventricular"):
        zone = "periventricular"
    first, second = np.maximum(
        1, np.exp(np.log(parameters.axis_ratios) + parameters.axis_log_sd * rng.standard_normal(2))
    )
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


def _is_confluent(parameters: LesionParameters, volumes_mm3: Sequence[float]) -> bool:
    """Whether a lesion of these volumes, one for each session, is larger than a single focus becomes."""
    return max(volumes_mm3) > parameters.confluent_mm3


def _enhance(rng: np.random.Generator, enhancement: Enhancement, lesions: Sequence[Lesion]) -> list[Lesion]:
    """Let some take up contrast agent: in the session in which they are seen first."""
    active = rng.random() < enhancement.subjects
    draws = rng.random((2, len(lesions)))
    signals = [uniform(rng, enhancement.signal) for _ in lesions]
    rings = [uniform(rng, enhancement.ring_depth) for _ in lesions]
    able = [number for number, one in enumerate(lesions) if max(one.volumes_mm3) <= enhancement.largest_mm3]
    chosen = {
        number
        for number in able
        if draws[0, number] < (enhancement.lesions if lesions[number].volumes_mm3[0] else enhancement.new_lesions)
    }
    if not active or not able:
        return list(lesions)
    chosen = chosen or {able[int(np.argmin(draws[0, able]))]}
    return [
        _enhancing(enhancement, one, signals[number], rings[number], draws[1, number]) if number in chosen else one
        for number, one in enumerate(lesions)
    ]


def _enhancing(enhancement: Enhancement, lesion: Lesion, signal: float, ring_depth: float, draw: float) -> Lesion:
    """The lesion, taking up contrast agent; as a ring if it is large enough and the draw (0 to 1) says so."""
    ring = draw < enhancement.ring and max(lesion.volumes_mm3) > enhancement.ring_mm3
    seen_first = 1 + next(session for session, volume in enumerate(lesion.volumes_mm3) if volume)
    return replace(lesion, enhancing=(seen_first,), enhancement=signal, ring_depth=ring_depth if ring else None)


@dataclass(frozen=True)
class Place:
    """Where one lesion begins to grow.

    Args:
        centre: voxel.
        shift: from that voxel's middle to where the lesion's own lies, in voxels, less than half of one.
        directions: unit vectors along the lesion's three axes, the longest first, as rows (3, 3).
    """

    centre: tuple[int, ...]
    shift: npt.NDArray[np.float64]
    directions: npt.NDArray[np.float64]


def zone_voxels(anatomy: Anatomy, parameters: LesionParameters) -> dict[Zone, npt.NDArray[np.intp]]:
    """For each zone that has lesions, the voxels in which their centres may lie, as flat indices; none without room."""
    masks = _zones(anatomy, parameters.zone_limits)
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
    if zone == "periventricular":  # along the veins, away from the wall
        directions[0] = _away(grid, anatomy, centre) + parameters.vein_scatter * directions[0]
    return Place(centre, shift, np.linalg.qr(directions.T)[0].T)


def _zones(anatomy: Anatomy, limits: ZoneLimits) -> dict[Zone, Mask]:
    white = anatomy.white > 0.7
    above = white & (anatomy.infratentorial < 0.5)
    beside = (anatomy.length > -limits.beyond_horns) & (anatomy.length < 1 + limits.beyond_horns)
    near_ventricle = (anatomy.ventricle_mm < limits.periventricular_mm) & beside
    near_cortex = anatomy.cortex_mm < limits.juxtacortical_mm
    below = (anatomy.infratentorial > 0.5) & (anatomy.fluid < 0.2) & (anatomy.depth_mm > limits.infratentorial_mm)
    return {
        "periventricular": above & near_ventricle,
        "juxtacortical": above & near_cortex & ~near_ventricle,
        "deep": above & ~near_cortex & ~near_ventricle,
        "infratentorial": below & (anatomy.white > 0.4),
        "cortical": (anatomy.cortex > 0.6) & (anatomy.infratentorial < 0.5),
        "deep_grey": anatomy.deep_grey > 0.6,
    }


def _away(grid: Grid, anatomy: Anatomy, centre: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """The unit vector that leads straight away from the ventricles."""
    box = tuple(slice(max(0, middle - 1), middle + 2) for middle in centre)
    away = np.array([np.mean(part) for part in np.gradient(anatomy.ventricle_mm[box], *grid.spacing)])
    unit: npt.NDArray[np.float64] = away / max(float(np.linalg.norm(away)), 1e-6)
    return unit


_TRIES_of_lesion_growth = 20

_LEAST_SHARE = 0.3  # of the volume that was drawn: a lesion with room for less is placed elsewhere

_WIDER, _BY = 5, 1.6  # how often a box is made wider, and by what factor

_ALL_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class PlacedLesion:
    """A lesion on the grid, in the box ``where``.

    Args:
        lesion: what was drawn.
        where: its box.
        cost: in mm, how far from the centre each voxel is as the lesion grows; infinite where it cannot.
        reach: for each session, the cost at its border.
        masks: for each session.
    """

    lesion: Lesion
    where: tuple[slice, ...]
    cost: Volume
    reach: tuple[float, ...]
    masks: tuple[Mask, ...]

    def depth(self, session: int) -> Volume:
        """0 at the border and beyond it, 1 at the centre."""
        reach = np.float32(max(self.reach[session], 1e-3))
        depth: Volume = np.clip((reach - self.cost) / reach, 0, 1)
        return depth

    def profile(self, session: int) -> Volume:
        """1 inside and 0 outside, with a soft border in between; nothing across a sulcus."""
        reach = np.float32(self.reach[session])
        width = np.float32(min(self.lesion.border_mm, max(0.5, self.reach[session])))  # a small one has no wide border
        soft: Volume = np.clip(np.float32(0.5) + (reach - self.cost) / width, 0, 1)
        soft[(self.cost <= reach) & ~self.masks[session]] = 0
        return soft


def place_lesions(
    rng: np.random.Generator, grid: Grid, anatomy: Anatomy, parameters: LesionParameters, lesions: Sequence[Lesion]
) -> list[PlacedLesion]:
    """Grow the lesions, the largest first, none touching another (26 neighbours) in any session.

    Where there is no room for one it is left out; a lesion that finds too little room stays smaller than drawn.
    """
    candidates = zone_voxels(anatomy, parameters)
    resistance = _resistance(rng, grid, anatomy, parameters)
    blocked = anatomy.fluid > 0.5
    blocked |= (anatomy.depth_mm <= 0) | ~anatomy.brain
    placed = []
    for lesion in sorted(lesions, key=lambda one: -max(one.volumes_mm3)):
        for _ in range(_TRIES_of_lesion_growth if candidates[lesion.zone].size else 0):
            place = draw_place(rng, grid, anatomy, parameters, lesion.zone, candidates[lesion.zone], blocked)
            found = _grow(grid, anatomy, parameters, resistance, blocked, lesion, place) if place else None
            if found:
                _block(blocked, found)
                placed.append(found)
                break
    return placed


def _resistance(rng: np.random.Generator, grid: Grid, anatomy: Anatomy, parameters: LesionParameters) -> Volume:
    """Factor on the distance from a lesion's centre: uneven all over, and larger in grey matter."""
    roughness = np.exp(np.float32(parameters.roughness) * smooth_field(rng, grid, parameters.roughness_mm))
    resistance: Volume = roughness * (1 + np.float32(parameters.spares_grey) * (anatomy.cortex + anatomy.deep_grey / 2))
    return resistance


def _grow(
    grid: Grid,
    anatomy: Anatomy,
    parameters: LesionParameters,
    resistance: Volume,
    blocked: Mask,
    lesion: Lesion,
    place: Place,
) -> PlacedLesion | None:
    """The lesion at its place, or None where it has room for too little of itself in any session.

    It grows within a box; where it meets the box' wall, the box is made wider, or the lesion would be flat there.
    """
    axes = place.directions / np.array(lesion.axis_ratios)[:, None]
    wanted = [
        max(round(volume / grid.voxel_mm3), parameters.minimum_voxels) if volume else 0 for volume in lesion.volumes_mm3
    ]
    reach = _expected_reach(grid, lesion)
    for _ in range(_WIDER):
        where = _box(grid, place.centre, reach)
        cost = _distance(grid, where, np.add(place.centre, place.shift), axes)
        if hugs_ventricles(parameters, lesion):
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
    for size, count in zip(sizes, wanted, strict=True):
        if count and size < max(parameters.minimum_voxels, _LEAST_SHARE * count):
            return None
    return PlacedLesion(replace(lesion, centre=place.centre, voxels=sizes), where, cost, borders, masks)


def _expected_reach(grid: Grid, lesion: Lesion) -> float:
    """How far from its centre, in mm along each axis of the grid, an undisturbed lesion is sure to end."""
    radius = (3 * max(lesion.volumes_mm3) / (4 * np.pi)) ** (1 / 3)
    reach: float = 2 * radius * max(lesion.axis_ratios) + 2 * max(grid.spacing) + lesion.border_mm
    return reach


def _box(grid: Grid, centre: tuple[int, ...], reach: float) -> tuple[slice, ...]:
    """All within ``reach`` mm of the centre along each axis, and within the grid."""
    return tuple(
        slice(max(0, middle - int(reach / step)), min(size, middle + int(reach / step) + 1))
        for middle, step, size in zip(centre, grid.spacing, grid.shape, strict=True)
    )


def _distance(
    grid: Grid, where: tuple[slice, ...], centre: npt.NDArray[np.float64], axes: npt.NDArray[np.float64]
) -> Volume:
    """Distance in mm to the centre (in voxels), each axis as a row by its length."""
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
    """The connected voxels around ``here`` of the lowest cost, about ``wanted`` of them, and the cost at their border.

    The lowest costs may lie across a sulcus: only what hangs together counts, so the limit is raised until that is
    large enough. None of them where none is wanted.
    """
    if not wanted:
        return np.zeros(cost.shape, dtype=bool), 0.0
    finite = np.sort(cost[np.isfinite(cost)])
    low, high = min(wanted, finite.size) - 1, finite.size - 1
    best = _component(cost <= finite[low], here)
    index = low
    while best.sum() < 0.95 * wanted and low < high:
        index = min(high, low + max(1, (wanted - int(best.sum()))))
        larger = _component(cost <= finite[index], here)
        if larger.sum() > 1.1 * wanted + 1:  # two parts met: stay with the smaller
            break
        best, low = larger, index
    following = finite[min(low + 1, finite.size - 1)]
    return best, float(0.5 * (finite[low] + following))


def _component(mask: Mask, here: tuple[int, ...]) -> Mask:
    labels = cc3d.connected_components(mask, connectivity=26)
    component: Mask = (labels == labels[here]) & mask
    return component


def _meets_wall(mask: Mask, where: tuple[slice, ...], grid: Grid) -> bool:
    """Whether a mask reaches a side of its box that is not the grid's own."""
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
    blocked[wide] |= ndimage.binary_dilation(mask, _ALL_NEIGHBOURS)


def lesion_mask(grid: Grid, lesions: Sequence[PlacedLesion], session: int) -> Mask:
    """All voxels of the lesions in that session, counted from 0."""
    mask = np.zeros(grid.shape, dtype=bool)
    for one in lesions:
        mask[one.where] |= one.masks[session]
    return mask


def enhancing_mask(grid: Grid, lesions: Sequence[PlacedLesion], session: int, depth: float) -> Mask:
    """What enhances in that session, counted from 0, and what a ring encloses; ``depth``: where it begins."""
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
    """What the lesions add to a contrast in that session, counted from 0, in SD of the brain.

    Args:
        unevenness: a field of mean 0 and SD 1 that makes the inside of lesions uneven.
    """
    signal = np.zeros(grid.shape, dtype=np.float32)
    for one in lesions:
        if one.masks[session].any():
            depth = one.depth(session)
            added = _strength(parameters, one, session) * _level(parameters, one, contrast, depth)
            added = added * (1 + np.float32(parameters.signal_scatter) * unevenness[one.where])
            if contrast == ENHANCED and parameters.enhancement and session + 1 in one.lesion.enhancing:
                added = added + _uptake(parameters.enhancement.depth, one, depth)
            signal[one.where] += one.profile(session) * added
    return signal


def _strength(parameters: LesionParameters, one: PlacedLesion, session: int) -> np.float32:
    """Factor on the signal of a lesion, by its volume in that session."""
    volume = one.lesion.volumes_mm3[session]
    return np.float32(np.interp(np.log(volume), np.log(parameters.small_mm3), (parameters.small_signal, 1)))


def _level(parameters: LesionParameters, one: PlacedLesion, contrast: str, depth: Volume) -> Volume | np.float32:
    """What the layer at each depth adds to the contrast; one number where there is one layer."""
    levels = np.array([layer.get(contrast, 0.0) for layer in one.lesion.signals], dtype=np.float32)
    if len(levels) == 1:
        return np.float32(levels[0])
    ends = np.array([layer.until for layer in parameters.layers])
    layered: Volume = levels[np.minimum(np.searchsorted(ends, depth), len(ends) - 1)]
    return layered


def _uptake(begin: float, one: PlacedLesion, depth: Volume) -> Volume:
    """What the contrast agent adds, from the depth ``begin`` inwards, in a ring as far as that reaches."""
    where = depth >= begin
    if one.lesion.ring_depth is not None:
        where &= depth < one.lesion.ring_depth
    uptake: Volume = np.float32(one.lesion.enhancement) * where
    return uptake

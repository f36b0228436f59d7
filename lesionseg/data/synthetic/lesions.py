"""Lesions: drawn as parameters first, then grown on the grid, voxel after voxel, to the volume that was drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

from lesionseg.data.synthetic.anatomy import Anatomy
from lesionseg.data.synthetic.fields import Grid, Mask, Volume, smooth_field
from lesionseg.data.synthetic.parameters import (
    ENHANCED,
    Enhancement,
    Evolution,
    LesionParameters,
    Quantiles,
    Volumes,
    Zone,
    uniform,
)

_TRIES = 20
_WIDER = 5
_CONFLUENT_MM3 = 1000.0
_SMALL_MM3 = (10.0, 300.0)
_RING_MM3 = 80.0  # a smaller ring would be one voxel wide
_ALL_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)


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


def draw_lesions(rng: np.random.Generator, parameters: LesionParameters, sessions: int) -> list[Lesion]:
    """Draw all lesions of a subject, not yet where they lie."""
    first = _volumes(rng, parameters)
    volumes: list[tuple[float, ...]] = [(volume,) for volume in first]
    if sessions == 2 and parameters.evolution:
        volumes = _evolve(rng, parameters.evolution, first)
    lesions = [_draw_lesion(rng, parameters, over_time) for over_time in volumes]
    return _enhance(rng, parameters.enhancement, lesions) if parameters.enhancement else lesions


def place_lesions(
    rng: np.random.Generator, grid: Grid, anatomy: Anatomy, parameters: LesionParameters, lesions: Sequence[Lesion]
) -> list[PlacedLesion]:
    """Grow the lesions, the largest first, none touching another (26 neighbours) in any session.

    Where there is no room for one it is left out; a lesion that finds too little room stays smaller than drawn.
    """
    zones = {zone: np.flatnonzero(mask) for zone, mask in _zones(anatomy, parameters.zones).items()}
    roughness = np.exp(np.float32(parameters.roughness) * smooth_field(rng, grid, 3.0))
    resistance = roughness * (1 + np.float32(parameters.spares_grey) * (anatomy.cortex + anatomy.deep_grey / 2))
    blocked = anatomy.fluid > 0.5
    blocked |= (anatomy.depth_mm <= 0) | ~anatomy.brain
    placed = []
    for lesion in sorted(lesions, key=lambda one: -max(one.volumes_mm3)):
        for _ in range(_TRIES):
            candidates = zones[lesion.zone]
            if not candidates.size:
                break
            centre = np.unravel_index(candidates[rng.integers(candidates.size)], grid.shape)
            if blocked[centre]:
                continue
            found = _grow(rng, grid, anatomy, parameters, resistance, blocked, lesion, tuple(int(i) for i in centre))
            if found:
                _block(blocked, found)
                placed.append(found)
                break
    return placed


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
    ends = np.array([layer.until for layer in parameters.layers])
    for one in lesions:
        if not one.masks[session].any():
            continue
        profile, depth = one.profile(session), one.depth(session)
        levels = np.array([layer.get(contrast, 0.0) for layer in one.lesion.signals], dtype=np.float32)
        factor = np.interp(np.log(one.lesion.volumes_mm3[session]), np.log(_SMALL_MM3), (parameters.small_signal, 1))
        level = levels[np.minimum(np.searchsorted(ends, depth), len(ends) - 1)] if len(ends) > 1 else levels[0]
        added = np.float32(factor) * level * (1 + np.float32(parameters.signal_scatter) * unevenness[one.where])
        if contrast == ENHANCED and parameters.enhancement and session + 1 in one.lesion.enhancing:
            uptake = depth >= parameters.enhancement.depth
            if one.lesion.ring_depth is not None:
                uptake &= depth < one.lesion.ring_depth
            added = added + np.float32(one.lesion.enhancement) * uptake
        signal[one.where] += profile * added
    return signal


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
    large = (load - small.sum()) * rng.dirichlet(np.full(confluent, 2.0)) if confluent else np.zeros(0)
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
    count = max(1, round(_at_random(rng, evolution.new)))
    return both + [(0.0, volume) for volume in _draw_volumes(rng, evolution.new_volume_mm3, count)]


def _at_random(rng: np.random.Generator, quantiles: Quantiles) -> float:
    return quantiles.at(float(rng.random()))


def _draw_lesion(rng: np.random.Generator, parameters: LesionParameters, volumes: tuple[float, ...]) -> Lesion:
    weights = np.array(list(parameters.zones.values()))
    zone = list(parameters.zones)[int(rng.choice(len(weights), p=weights / weights.sum()))]
    if max(volumes) > _CONFLUENT_MM3 and parameters.hugging and parameters.zones.get("periventricular"):
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
        replace(
            one,
            enhancing=(1 + next(session for session, volume in enumerate(one.volumes_mm3) if volume),),
            enhancement=signals[number],
            ring_depth=(
                rings[number] if draws[1, number] < enhancement.ring and max(one.volumes_mm3) > _RING_MM3 else None
            ),
        )
        if number in chosen
        else one
        for number, one in enumerate(lesions)
    ]


def _zones(anatomy: Anatomy, wanted: dict[Zone, float]) -> dict[Zone, Mask]:
    """Where a lesion's centre may lie."""
    white = anatomy.white > 0.7
    above = white & (anatomy.infratentorial < 0.5)
    near_ventricle = (anatomy.ventricle_mm < 7) & (anatomy.length > -0.15) & (anatomy.length < 1.15)
    below = (anatomy.infratentorial > 0.5) & (anatomy.fluid < 0.2) & (anatomy.depth_mm > 5)
    masks: dict[Zone, Mask] = {
        "periventricular": above & near_ventricle,
        "juxtacortical": above & (anatomy.cortex_mm < 3.5) & ~near_ventricle,
        "deep": above & (anatomy.cortex_mm >= 3.5) & ~near_ventricle,
        "infratentorial": below & (anatomy.white > 0.4),
        "cortical": (anatomy.cortex > 0.6) & (anatomy.infratentorial < 0.5),
        "deep_grey": anatomy.deep_grey > 0.6,
    }
    return {zone: masks[zone] for zone in wanted}


def _grow(
    rng: np.random.Generator,
    grid: Grid,
    anatomy: Anatomy,
    parameters: LesionParameters,
    resistance: Volume,
    blocked: Mask,
    lesion: Lesion,
    centre: tuple[int, ...],
) -> PlacedLesion | None:
    """The lesion around ``centre``, or None where not even the smallest lesion has room.

    It grows within a box; where it meets the box' wall, the box is made wider, or the lesion would be flat there.
    """
    shift = rng.uniform(-0.4, 0.4, 3)
    axes = _directions(rng, grid, anatomy, lesion.zone, centre) / np.array(lesion.axis_ratios)[:, None]
    radius = (3 * max(lesion.volumes_mm3) / (4 * np.pi)) ** (1 / 3)
    reach = 2 * radius * max(lesion.axis_ratios) + 2 * max(grid.spacing) + lesion.border_mm
    wanted = [
        max(round(volume / grid.voxel_mm3), parameters.minimum_voxels) if volume else 0 for volume in lesion.volumes_mm3
    ]
    hugging = parameters.hugging if _hugs(lesion) else 0.0
    for _ in range(_WIDER):
        where = _box(grid, centre, reach)
        cost = _cost(grid, where, np.add(centre, shift), axes)
        if hugging:
            cost = np.hypot(cost, np.float32(hugging) * np.maximum(anatomy.ventricle_mm[where] - 2, 0))
        cost *= resistance[where]
        cost[blocked[where]] = np.inf
        here = tuple(middle - side.start for middle, side in zip(centre, where, strict=True))
        masks, borders = zip(*(_up_to(cost, here, count) for count in wanted), strict=True)
        if not any(_meets_wall(mask, where, grid) for mask in masks):
            break
        reach *= 1.6
    sizes = [int(mask.sum()) for mask in masks]
    if any(
        size < max(parameters.minimum_voxels, 0.3 * count) for size, count in zip(sizes, wanted, strict=True) if count
    ):
        return None
    return PlacedLesion(replace(lesion, centre=centre, voxels=tuple(sizes)), where, cost, borders, masks)


def _hugs(lesion: Lesion) -> bool:
    return max(lesion.volumes_mm3) > _CONFLUENT_MM3 and lesion.zone == "periventricular"


def _box(grid: Grid, centre: tuple[int, ...], reach: float) -> tuple[slice, ...]:
    """All within ``reach`` mm of the centre along each axis, and within the grid."""
    return tuple(
        slice(max(0, middle - int(reach / step)), min(size, middle + int(reach / step) + 1))
        for middle, step, size in zip(centre, grid.spacing, grid.shape, strict=True)
    )


def _cost(
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


def _meets_wall(mask: Mask, where: tuple[slice, ...], grid: Grid) -> bool:
    """Whether a mask reaches a side of its box that is not the grid's own."""
    for axis, (side, size) in enumerate(zip(where, grid.shape, strict=True)):
        first, last = np.take(mask, 0, axis=axis), np.take(mask, -1, axis=axis)
        if (side.start > 0 and first.any()) or (side.stop < size and last.any()):
            return True
    return False


def _directions(
    rng: np.random.Generator, grid: Grid, anatomy: Anatomy, zone: Zone, centre: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    """The directions of the three axes, as rows: periventricular lesions lie along the veins, away from the wall."""
    directions = rng.standard_normal((3, 3))
    if zone == "periventricular":
        box = tuple(slice(max(0, middle - 1), middle + 2) for middle in centre)
        around = anatomy.ventricle_mm[box]
        away = np.array([np.mean(part) for part in np.gradient(around, *grid.spacing)])
        directions[0] = away / max(float(np.linalg.norm(away)), 1e-6) + 0.2 * directions[0]
    return np.linalg.qr(directions.T)[0].T


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


def _block(blocked: Mask, placed: PlacedLesion) -> None:
    """Keep the lesion's voxels and their neighbours free of other lesions."""
    wide = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in placed.where)
    inner = tuple(
        slice(side.start - outer.start, side.stop - outer.start) for side, outer in zip(placed.where, wide, strict=True)
    )
    mask = np.zeros(blocked[wide].shape, dtype=bool)
    mask[inner] = np.logical_or.reduce(placed.masks)
    blocked[wide] |= ndimage.binary_dilation(mask, _ALL_NEIGHBOURS)

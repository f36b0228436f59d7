"""How lesions grow in the tissue: voxel after voxel in the order of their cost, to the volume that was drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cc3d
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lesionseg.data.synthetic.anatomy import Anatomy
from lesionseg.data.synthetic.fields import Grid, Mask, Volume, smooth_field
from lesionseg.data.synthetic.lesion_places import Place, draw_place, zone_voxels
from lesionseg.data.synthetic.lesion_sampling import Lesion, hugs_ventricles
from lesionseg.data.synthetic.parameters import LesionParameters

_TRIES = 20
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
        for _ in range(_TRIES if candidates[lesion.zone].size else 0):
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

"""Lesions of the phantom: drawn as parameters first, then laid on the voxel grid."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lesionseg.data.synthetic.anatomy import Anatomy
from lesionseg.data.synthetic.fields import Grid, Mask, Volume, ramp, smooth_field

MINIMUM_VOXELS = 3
_TRIES = 30
_ALL_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class LesionKind:
    """What the lesions of a pathology are like.

    Args:
        zones: probability of each zone of :func:`_zones`.
        median_mm3, log_sd: log-normal volume, before those too small for the grid are drawn again
            (at 1.5 mm a median of 7 mm³ becomes 30).
        range_mm3: the volume is clipped to it, and to a thirtieth of the brain.
        flair: range of inside minus surroundings on FLAIR, in SD of the brain.
        irregularity_mm: size of the bumps of the border.
    """

    zones: dict[str, float]
    median_mm3: float
    log_sd: float
    range_mm3: tuple[float, float]
    flair: tuple[float, float]
    irregularity_mm: float


MS = LesionKind({"periventricular": 0.45, "juxtacortical": 0.2, "deep": 0.35}, 7.0, 1.8, (4.0, 6000.0), (1.1, 2.1), 2.0)
INFARCT = LesionKind({"cortical": 0.6, "deep": 0.4}, 2500.0, 1.2, (300.0, 20000.0), (1.3, 2.6), 5.0)


@dataclass(frozen=True)
class Lesion:
    """What was drawn of one lesion; contrasts are inside minus surroundings, in SD of the brain.

    Args:
        session: the first session that shows it, from 1.
        enhancing: the sessions in which it takes up gadolinium.
    """

    zone: str
    centre: tuple[int, ...]
    semi_axes_mm: tuple[float, ...]
    directions: tuple[tuple[float, ...], ...]
    flair: float
    t1: float
    session: int
    enhancing: tuple[int, ...] = ()


@dataclass(frozen=True)
class PlacedLesion:
    """A lesion on the grid: its box ``where``, in that its mask and soft ``profile`` (mean 1 in the mask)."""

    lesion: Lesion
    where: tuple[slice, ...]
    profile: Volume
    mask: Mask


def place_lesions(
    rng: np.random.Generator, grid: Grid, anatomy: Anatomy, kind: LesionKind, counts: Sequence[int]
) -> list[PlacedLesion]:
    """Lay ``counts[i]`` lesions that appear in session ``i + 1``, none touching another (26 neighbours).

    Fewer come back where there is no room left for one of at least ``MINIMUM_VOXELS`` voxels.
    """
    zones = {name: np.flatnonzero(mask) for name, mask in _zones(anatomy).items() if name in kind.zones}
    roughness = smooth_field(rng, grid, kind.irregularity_mm)
    largest = min(kind.range_mm3[1], anatomy.brain.sum() * grid.voxel_mm3 / 30)
    taken = np.zeros(grid.shape, dtype=bool)
    placed: list[PlacedLesion] = []
    for session in [number for number, count in enumerate(counts, start=1) for _ in range(count)]:
        for _ in range(_TRIES):
            lesion = _draw_lesion(rng, grid, zones, kind, largest, session)
            found = _lay(lesion, grid, anatomy.csf, roughness)
            if found and not (taken[found.where] & ndimage.binary_dilation(found.mask, _ALL_NEIGHBOURS)).any():
                taken[found.where] |= found.mask
                placed.append(found)
                break
    return placed


def lesion_mask(grid: Grid, lesions: Sequence[PlacedLesion]) -> Mask:
    """The union of the lesions' masks."""
    mask = np.zeros(grid.shape, dtype=bool)
    for one in lesions:
        mask[one.where] |= one.mask
    return mask


def lesion_signal(grid: Grid, lesions: Sequence[PlacedLesion], contrasts: Sequence[float]) -> Volume:
    """What the lesions add to a scan, in SD of the brain: each profile times its contrast."""
    signal = np.zeros(grid.shape, dtype=np.float32)
    for one, contrast in zip(lesions, contrasts, strict=True):
        signal[one.where] += np.float32(contrast) * one.profile
    return signal


def _zones(anatomy: Anatomy) -> dict[str, Mask]:
    """Where a lesion's centre may lie."""
    white = anatomy.white > 0.8
    return {
        "periventricular": white & (anatomy.ventricle_mm < 7),
        "juxtacortical": white & (anatomy.pial_mm < 6),
        "deep": white & (anatomy.ventricle_mm >= 7) & (anatomy.pial_mm >= 6),
        "cortical": anatomy.brain & (anatomy.cortex > 0.8),
    }


def _draw_lesion(
    rng: np.random.Generator,
    grid: Grid,
    zones: dict[str, npt.NDArray[np.intp]],
    kind: LesionKind,
    largest: float,
    session: int,
) -> Lesion:
    zone = str(rng.choice(list(kind.zones), p=list(kind.zones.values())))
    centre = np.unravel_index(rng.choice(zones[zone]), grid.shape)
    volume = np.clip(rng.lognormal(np.log(kind.median_mm3), kind.log_sd), kind.range_mm3[0], largest)
    stretch = rng.lognormal(0, 0.3, 3)
    semi_axes = stretch / stretch.prod() ** (1 / 3) * (volume * 3 / (4 * np.pi)) ** (1 / 3)
    directions = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    dark_on_t1 = rng.random() < 0.4
    return Lesion(
        zone=zone,
        centre=tuple(int(index) for index in centre),
        semi_axes_mm=tuple(float(axis) for axis in semi_axes),
        directions=tuple(tuple(float(part) for part in row) for row in directions),
        flair=float(rng.uniform(*kind.flair)),
        t1=-float(rng.uniform(0.5, 1.5)) if dark_on_t1 else -float(rng.uniform(0, 0.3)),
        session=session,
    )


def _lay(lesion: Lesion, grid: Grid, csf: Volume, roughness: Volume) -> PlacedLesion | None:
    """The lesion on the grid, kept out of the fluid; None where too few voxels remain."""
    reach = 1.5 * max(lesion.semi_axes_mm) + 2 * max(grid.spacing)
    where = tuple(
        slice(max(0, centre - int(reach / step)), min(size, centre + int(reach / step) + 1))
        for centre, step, size in zip(lesion.centre, grid.spacing, grid.shape, strict=True)
    )
    lines = [
        (np.arange(part.start, part.stop) - centre) * step
        for part, centre, step in zip(where, lesion.centre, grid.spacing, strict=True)
    ]
    offsets = np.stack(np.meshgrid(*lines, indexing="ij"))
    along = np.einsum("ij,jabc->iabc", np.array(lesion.directions), offsets)
    level = np.linalg.norm(along / np.reshape(lesion.semi_axes_mm, (3, 1, 1, 1)), axis=0)
    level = np.float32(level) * np.exp(np.float32(0.2) * roughness[where])
    radius = np.float32(np.prod(lesion.semi_axes_mm) ** (1 / 3))
    profile = ramp((1 - level) * radius, 2.0) * (1 - csf[where])

    labels, _ = ndimage.label(profile > 0.5, _ALL_NEIGHBOURS)
    sizes = np.bincount(labels.ravel())[1:]
    if not sizes.size or sizes.max() < MINIMUM_VOXELS:
        return None
    mask = labels == sizes.argmax() + 1
    profile[(labels > 0) & ~mask] = 0
    return PlacedLesion(lesion, where, profile / profile[mask].mean(), mask)

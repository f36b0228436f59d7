"""Where a lesion lies: the zones, its centre in one of them, and which way its axes point."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lesionseg.data.synthetic.anatomy import Anatomy
from lesionseg.data.synthetic.fields import Grid, Mask
from lesionseg.data.synthetic.parameters import LesionParameters, Zone, ZoneLimits


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

"""What a false positive is made of: bright or dark structures of a healthy brain that are in no mask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lesionseg.data.synthetic.anatomy import Anatomy
from lesionseg.data.synthetic.fields import Grid, Volume, ramp, smooth_field
from lesionseg.data.synthetic.parameters import MimicParameters, uniform

_TUBE_MM = {"length": (3.0, 10.0), "radius": (0.5, 0.9)}


@dataclass(frozen=True)
class MimicDraw:
    """The strength of each mimic on each contrast, in SD of the brain, and how many perivascular spaces."""

    strengths: dict[str, dict[str, float]]
    perivascular_count: int


def draw_mimics(rng: np.random.Generator, parameters: MimicParameters) -> MimicDraw:
    """Draw the subject's own strengths; a mimic is as strong on all contrasts, within their intervals."""
    strengths = {}
    for kind, intervals in parameters:
        if kind != "perivascular_count":
            quantile = rng.random()
            strengths[kind] = {name: low + quantile * (high - low) for name, (low, high) in intervals.items()}
    return MimicDraw(strengths, round(uniform(rng, parameters.perivascular_count)))


def mimic_signals(
    rng: np.random.Generator, grid: Grid, anatomy: Anatomy, drawn: MimicDraw, contrasts: Sequence[str]
) -> dict[str, Volume]:
    """What the mimics add to each contrast, in SD of the brain; flow differs from scan to scan and is not here."""
    patches = smooth_field(rng, grid, 5.0)
    tissue = (anatomy.depth_mm > 0) * (1 - anatomy.fluid)
    tubes_seed = np.random.default_rng(rng.integers(2**63))
    fields = [smooth_field(rng, grid, width) for width in (4.0, 4.0, 2.0, 10.0)]
    shapes: dict[str, Callable[[], Volume]] = {
        "caps": lambda: tissue * _horns(anatomy) * _near_ventricle(anatomy, 3.0) * np.clip(0.8 + patches, 0.2, 1.5),
        "rim": lambda: tissue * ramp(1.2 - np.abs(anatomy.ventricle_mm - 0.8), 1.0) * _along(anatomy),
        "septum": lambda: ramp(1.6 - anatomy.side_mm, 1.2) * _septum(anatomy),
        "choroid_plexus": lambda: _choroid_plexus(anatomy, fields[2]),
        "bright_cortex": lambda: anatomy.cortex * np.clip(patches - 0.3, 0, 1),
        "dirty_white": lambda: anatomy.white * _fading(anatomy, 12.0) * np.clip(1 + fields[3], 0, 2),
        "perivascular_spaces": lambda: tissue * _tubes(tubes_seed, grid, anatomy, drawn.perivascular_count),
        "vessels": lambda: _vessels(anatomy, fields[0], fields[1]),
        "sinuses": lambda: _sinuses(anatomy, patches),
    }
    signals = {name: np.zeros(grid.shape, dtype=np.float32) for name in contrasts}
    for kind, shape in shapes.items():
        seen = {name: strength for name, strength in drawn.strengths[kind].items() if name in signals and strength}
        if seen:
            volume = shape()
            for name, strength in seen.items():
                signals[name] += np.float32(strength) * volume
    return signals


def flow(rng: np.random.Generator, grid: Grid, anatomy: Anatomy) -> Volume:
    """Where fluid moves in one scan, 0 to 1."""
    moving: Volume = anatomy.fluid * (anatomy.depth_mm > 8) * np.clip(smooth_field(rng, grid, 4.0) - 1.2, 0, 1)
    return moving


def _fading(anatomy: Anatomy, length: float) -> Volume:
    """1 at the ventricles' wall, less by a factor e every ``length`` mm outwards."""
    fading: Volume = np.exp(-np.abs(anatomy.ventricle_mm) / np.float32(length))
    return fading


def _near_ventricle(anatomy: Anatomy, width: float) -> Volume:
    """1 at the ventricles' wall, falling off over ``width`` mm outwards."""
    near: Volume = np.exp(-((np.maximum(anatomy.ventricle_mm, 0) / np.float32(width)) ** 2))
    return near


def _horns(anatomy: Anatomy) -> Volume:
    """1 at the front and hind end of the lateral ventricles, 0 along their bodies."""
    ends: Volume = np.clip(np.maximum(anatomy.length - 0.75, 0.25 - anatomy.length) / np.float32(0.2), 0, 1)
    return ends


def _along(anatomy: Anatomy) -> Volume:
    """1 beside the lateral ventricles, 0 before and behind them."""
    beside: Volume = ((anatomy.length > -0.1) & (anatomy.length < 1.1)).astype(np.float32)
    return beside


def _septum(anatomy: Anatomy) -> Volume:
    between: Volume = ramp(4.0 - anatomy.ventricle_mm, 2.0) * (anatomy.length > 0.4) * (anatomy.length < 0.95)
    return between


def _choroid_plexus(anatomy: Anatomy, field: Volume) -> Volume:
    """Clumps in the ventricles, mostly where body and hind horn meet."""
    likely = np.exp(-(((anatomy.length - np.float32(0.28)) / np.float32(0.15)) ** 2))
    inside = (anatomy.ventricle_mm < 1.5) * anatomy.fluid
    clumps: Volume = inside * np.clip(field + 2.2 * likely - 1.6, 0, 1)
    return clumps


def _vessels(anatomy: Anatomy, first: Volume, second: Volume) -> Volume:
    """Tubes, where two random fields cross zero together, near the surface and in the sulci."""
    tubes: Volume = np.exp(-12 * (first**2 + second**2)) * (0.25 + anatomy.fluid) * (anatomy.depth_mm > 0)
    tubes *= np.clip(1.4 - anatomy.depth_mm / np.float32(25), 0.15, 1)
    return tubes


def _sinuses(anatomy: Anatomy, patches: Volume) -> Volume:
    """Along the midline's outer edge, and in patches on the surface."""
    surface = ramp(3.5 - anatomy.depth_mm, 2.0) * (anatomy.depth_mm > 0)
    sinuses: Volume = surface * np.maximum(ramp(3.0 - anatomy.side_mm, 2.0), np.clip(patches - 1.2, 0, 1))
    return sinuses


def _tubes(rng: np.random.Generator, grid: Grid, anatomy: Anatomy, count: int) -> Volume:
    """Short straight tubes with soft walls at random places and in random directions."""
    volume = np.zeros(grid.shape, dtype=np.float32)
    places = np.flatnonzero((anatomy.white > 0.7) | (anatomy.deep_grey > 0.7))
    if not places.size:
        return volume
    steps = np.array(grid.spacing)
    for centre in np.transpose(np.unravel_index(places[rng.integers(places.size, size=count)], grid.shape)):
        length, radius = uniform(rng, _TUBE_MM["length"]), uniform(rng, _TUBE_MM["radius"])
        way = rng.standard_normal(3)
        way /= np.linalg.norm(way)
        reach = np.ceil((length / 2 + 2 * radius) / steps).astype(int)
        box = tuple(
            slice(max(0, int(c - r)), min(n, int(c + r) + 1)) for c, r, n in zip(centre, reach, grid.shape, strict=True)
        )
        offsets = _offsets(box, centre, steps)
        along = np.clip(np.einsum("i,i...->...", way, offsets), -length / 2, length / 2)
        distance = np.linalg.norm(offsets - way[:, None, None, None] * along, axis=0)
        # a tube thinner than a voxel dims with its share of it
        width = max(radius, float(steps.mean()) / 2)
        share = np.float32(min(1.0, (radius / width) ** 2) * np.exp(-0.5 * (distance / width) ** 2))
        volume[box] = np.maximum(volume[box], share)
    return volume


def _offsets(
    box: tuple[slice, ...], centre: npt.NDArray[np.intp], steps: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    lines = [
        (np.arange(side.start, side.stop) - middle) * step
        for side, middle, step in zip(box, centre, steps, strict=True)
    ]
    return np.stack(np.meshgrid(*lines, indexing="ij"))

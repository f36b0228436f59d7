"""What a false positive is made of: bright or dark structures of a healthy brain that are in no mask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lesionseg.synthetic.anatomy import Anatomy, Grid, Volume, ramp, smooth_field
from lesionseg.synthetic.config import (
    Caps,
    ChoroidPlexus,
    DirtyWhite,
    Flow,
    MimicParameters,
    MimicShapes,
    PerivascularSpaces,
    Rim,
    Septum,
    Sinuses,
    Vessels,
    uniform,
)


@dataclass(frozen=True)
class MimicDraw:
    """The strength of each mimic on each contrast, in SD of the brain, and how many perivascular spaces."""

    strengths: dict[str, dict[str, float]]
    perivascular_count: int


def draw_mimics(rng: np.random.Generator, parameters: MimicParameters) -> MimicDraw:
    """Draw the subject's own strengths; a mimic is as strong on all contrasts, within their intervals."""
    strengths = {}
    for kind, intervals in parameters.strengths().items():
        quantile = rng.random()
        strengths[kind] = {name: low + quantile * (high - low) for name, (low, high) in intervals.items()}
    return MimicDraw(strengths, round(uniform(rng, parameters.perivascular_count)))


def mimic_signals(
    rng: np.random.Generator,
    grid: Grid,
    anatomy: Anatomy,
    shapes: MimicShapes,
    drawn: MimicDraw,
    contrasts: Sequence[str],
) -> dict[str, Volume]:
    """What the mimics add to each contrast, in SD of the brain; flow differs from scan to scan and is not here.

    Args:
        rng: places and unevenness; the same for any choice of mimics and contrasts.
        shapes: where each mimic lies and how wide it is.
        drawn: how strong each is.
        contrasts: of which the signal is wanted.
    """
    signals = {name: np.zeros(grid.shape, dtype=np.float32) for name in contrasts}
    for kind, shape in _shapes(rng, grid, anatomy, shapes, drawn.perivascular_count).items():
        seen = {name: strength for name, strength in drawn.strengths[kind].items() if name in signals and strength}
        if seen:
            volume = shape()
            for name, strength in seen.items():
                signals[name] += np.float32(strength) * volume
    return signals


def flow(rng: np.random.Generator, grid: Grid, anatomy: Anatomy, shape: Flow) -> Volume:
    """Where fluid moves in one scan, 0 to 1."""
    patches = np.clip(smooth_field(rng, grid, shape.patch_mm) - shape.threshold, 0, 1)
    moving: Volume = anatomy.fluid * (anatomy.depth_mm > shape.depth_mm) * patches
    return moving


def _shapes(
    rng: np.random.Generator, grid: Grid, anatomy: Anatomy, shapes: MimicShapes, perivascular_count: int
) -> dict[str, Callable[[], Volume]]:
    """Each mimic at a strength of 1; what is random is drawn here, the volumes are made when they are called for."""
    patches = smooth_field(rng, grid, shapes.patches_mm)
    own = np.random.default_rng(rng.integers(2**63))
    first, second = (smooth_field(rng, grid, shapes.vessels.winding_mm) for _ in range(2))
    clumps = smooth_field(rng, grid, shapes.choroid_plexus.clump_mm)
    dirt = smooth_field(rng, grid, shapes.dirty_white.patch_mm)
    spots = smooth_field(rng, grid, shapes.cortical_spots.spot_mm)
    tissue = (anatomy.depth_mm > 0) * (1 - anatomy.fluid)
    return {
        "caps": lambda: _caps(anatomy, tissue, shapes.caps, patches),
        "rim": lambda: _rim(anatomy, tissue, shapes.rim),
        "septum": lambda: _septum(anatomy, shapes.septum),
        "choroid_plexus": lambda: _choroid_plexus(anatomy, shapes.choroid_plexus, clumps),
        "bright_cortex": lambda: anatomy.cortex * np.clip(patches - shapes.bright_cortex.threshold, 0, 1),
        "cortical_spots": lambda: anatomy.cortex * np.clip(spots - shapes.cortical_spots.threshold, 0, 1.2),
        "dirty_white": lambda: _dirty_white(anatomy, shapes.dirty_white, dirt),
        "perivascular_spaces": lambda: (
            tissue * _tubes(own, grid, anatomy, shapes.perivascular_spaces, perivascular_count)
        ),
        "vessels": lambda: _vessels(anatomy, shapes.vessels, first, second),
        "sinuses": lambda: _sinuses(anatomy, shapes.sinuses, patches),
    }


def _caps(anatomy: Anatomy, tissue: Volume, shape: Caps, patches: Volume) -> Volume:
    """At the front and hind end of the lateral ventricles, none along their bodies; uneven."""
    into = np.maximum(anatomy.length - (1 - shape.length), shape.length - anatomy.length)
    horns = np.clip(into / np.float32(shape.fade), 0, 1)
    near = np.exp(-((np.maximum(anatomy.ventricle_mm, 0) / np.float32(shape.width_mm)) ** 2))
    caps: Volume = tissue * horns * near * np.clip(0.8 + patches, 0.2, 1.5)
    return caps


def _rim(anatomy: Anatomy, tissue: Volume, shape: Rim) -> Volume:
    """Along the wall of the lateral ventricles, none before and behind them."""
    beside = ((anatomy.length > -shape.beyond) & (anatomy.length < 1 + shape.beyond)).astype(np.float32)
    rim: Volume = tissue * ramp(shape.half_width_mm - np.abs(anatomy.ventricle_mm - shape.distance_mm), 1.0) * beside
    return rim


def _septum(anatomy: Anatomy, shape: Septum) -> Volume:
    """Along the midline, where the ventricles are near."""
    back, front = shape.extent
    between = ramp(shape.reach_mm - anatomy.ventricle_mm, 2.0) * (anatomy.length > back) * (anatomy.length < front)
    septum: Volume = ramp(shape.half_width_mm - anatomy.side_mm, 1.2) * between
    return septum


def _choroid_plexus(anatomy: Anatomy, shape: ChoroidPlexus, clumps: Volume) -> Volume:
    """Clumps in the ventricles, mostly where body and hind horn meet."""
    likely = np.exp(-(((anatomy.length - np.float32(shape.position)) / np.float32(shape.spread)) ** 2))
    inside = (anatomy.ventricle_mm < shape.wall_mm) * anatomy.fluid
    plexus: Volume = inside * np.clip(clumps + shape.preference * likely - shape.threshold, 0, 1)
    return plexus


def _dirty_white(anatomy: Anatomy, shape: DirtyWhite, dirt: Volume) -> Volume:
    """White matter, less by a factor of e every ``fade_mm`` from the ventricles; uneven."""
    fading = np.exp(-np.abs(anatomy.ventricle_mm) / np.float32(shape.fade_mm))
    dirty: Volume = anatomy.white * fading * np.clip(1 + dirt, 0, 2)
    return dirty


def _vessels(anatomy: Anatomy, shape: Vessels, first: Volume, second: Volume) -> Volume:
    """Tubes, where two random fields cross zero together, near the surface and in the sulci."""
    tubes: Volume = np.exp(-shape.thinness * (first**2 + second**2))
    tubes = tubes * (shape.outside_fluid + anatomy.fluid) * (anatomy.depth_mm > 0)
    tubes *= np.clip(shape.surface - anatomy.depth_mm / np.float32(shape.fade_mm), shape.least, 1)
    return tubes


def _sinuses(anatomy: Anatomy, shape: Sinuses, patches: Volume) -> Volume:
    """Along the midline's outer edge, and in patches on the surface."""
    surface = ramp(shape.depth_mm - anatomy.depth_mm, 2.0) * (anatomy.depth_mm > 0)
    midline = ramp(shape.half_width_mm - anatomy.side_mm, 2.0)
    sinuses: Volume = surface * np.maximum(midline, np.clip(patches - shape.threshold, 0, 1))
    return sinuses


def _tubes(rng: np.random.Generator, grid: Grid, anatomy: Anatomy, shape: PerivascularSpaces, count: int) -> Volume:
    """Short straight tubes with soft walls at random places and in random directions."""
    volume = np.zeros(grid.shape, dtype=np.float32)
    places = np.flatnonzero((anatomy.white > 0.7) | (anatomy.deep_grey > 0.7))
    if not places.size:
        return volume
    steps = np.array(grid.spacing)
    for centre in np.transpose(np.unravel_index(places[rng.integers(places.size, size=count)], grid.shape)):
        length, radius = uniform(rng, shape.length_mm), uniform(rng, shape.radius_mm)
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
    """From the centre to every voxel of a box, in mm; shape (3, ...)."""
    lines = [
        (np.arange(side.start, side.stop) - middle) * step
        for side, middle, step in zip(box, centre, steps, strict=True)
    ]
    return np.stack(np.meshgrid(*lines, indexing="ij"))

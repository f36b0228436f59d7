"""Bright or dark structures of a healthy brain that look like lesions and are in no mask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lesionseg.synthetic.anatomy import Anatomy, Grid, Volume, ramp, smooth_field
from lesionseg.synthetic.config import Flow, MimicParameters, MimicShapes, PerivascularSpaces
from lesionseg.synthetic.distributions import uniform


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
    """Return what the mimics add to each contrast, in SD of the brain.

    Flow differs from scan to scan and is not here. Places and unevenness are the same for any choice of mimics and
    contrasts.
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
    """Return where fluid moves in one scan, 0 to 1."""
    patches = np.clip(smooth_field(rng, grid, shape.patch_mm) - shape.threshold, 0, 1)
    moving: Volume = anatomy.fluid * (anatomy.depth_mm > shape.depth_mm) * patches
    return moving


def _shapes(
    rng: np.random.Generator, grid: Grid, anatomy: Anatomy, shapes: MimicShapes, perivascular_count: int
) -> dict[str, Callable[[], Volume]]:
    """Return each mimic at a strength of 1: random fields are drawn here, the volume is made when it is called for."""
    patches = smooth_field(rng, grid, shapes.patches_mm)
    own = np.random.default_rng(rng.integers(2**63))
    first, second = (smooth_field(rng, grid, shapes.vessels.winding_mm) for _ in range(2))
    clumps = smooth_field(rng, grid, shapes.choroid_plexus.clump_mm)
    dirt = smooth_field(rng, grid, shapes.dirty_white.patch_mm)
    spots = smooth_field(rng, grid, shapes.cortical_spots.spot_mm)
    tissue = (anatomy.depth_mm > 0) * (1 - anatomy.fluid)
    length, ventricle_mm, depth_mm = anatomy.length, anatomy.ventricle_mm, anatomy.depth_mm

    def caps() -> Any:  # at the front and hind end of the lateral ventricles, none along their bodies; uneven
        shape = shapes.caps
        into = np.maximum(length - (1 - shape.length), shape.length - length)
        horns = np.clip(into / np.float32(shape.fade), 0, 1)
        near = np.exp(-((np.maximum(ventricle_mm, 0) / np.float32(shape.width_mm)) ** 2))
        return tissue * horns * near * np.clip(0.8 + patches, 0.2, 1.5)

    def rim() -> Any:  # along the wall of the lateral ventricles, none before and behind them
        shape = shapes.rim
        beside = ((length > -shape.beyond) & (length < 1 + shape.beyond)).astype(np.float32)
        return tissue * ramp(shape.half_width_mm - np.abs(ventricle_mm - shape.distance_mm), 1.0) * beside

    def septum() -> Any:  # along the midline, where the ventricles are near
        shape = shapes.septum
        back, front = shape.extent
        between = ramp(shape.reach_mm - ventricle_mm, 2.0) * (length > back) * (length < front)
        return ramp(shape.half_width_mm - anatomy.side_mm, 1.2) * between

    def choroid_plexus() -> Any:  # mostly where body and hind horn meet
        shape = shapes.choroid_plexus
        likely = np.exp(-(((length - np.float32(shape.position)) / np.float32(shape.spread)) ** 2))
        inside = (ventricle_mm < shape.wall_mm) * anatomy.fluid
        return inside * np.clip(clumps + shape.preference * likely - shape.threshold, 0, 1)

    def dirty_white() -> Any:
        fading = np.exp(-np.abs(ventricle_mm) / np.float32(shapes.dirty_white.fade_mm))
        return anatomy.white * fading * np.clip(1 + dirt, 0, 2)

    def vessels() -> Any:  # near the surface and in the sulci
        shape = shapes.vessels
        tubes: Volume = np.exp(-shape.thinness * (first**2 + second**2))
        tubes = tubes * (shape.outside_fluid + anatomy.fluid) * (depth_mm > 0)
        tubes *= np.clip(shape.surface - depth_mm / np.float32(shape.fade_mm), shape.least, 1)
        return tubes

    def sinuses() -> Any:  # along the midline's outer edge, and in patches on the surface
        shape = shapes.sinuses
        surface = ramp(shape.depth_mm - depth_mm, 2.0) * (depth_mm > 0)
        midline = ramp(shape.half_width_mm - anatomy.side_mm, 2.0)
        return surface * np.maximum(midline, np.clip(patches - shape.threshold, 0, 1))

    return {
        "caps": caps,
        "rim": rim,
        "septum": septum,
        "choroid_plexus": choroid_plexus,
        "bright_cortex": lambda: anatomy.cortex * np.clip(patches - shapes.bright_cortex.threshold, 0, 1),
        "cortical_spots": lambda: anatomy.cortex * np.clip(spots - shapes.cortical_spots.threshold, 0, 1.2),
        "dirty_white": dirty_white,
        "perivascular_spaces": lambda: (
            tissue * _tubes(own, grid, anatomy, shapes.perivascular_spaces, perivascular_count)
        ),
        "vessels": vessels,
        "sinuses": sinuses,
    }


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
        lines = [
            (np.arange(side.start, side.stop) - middle) * step
            for side, middle, step in zip(box, centre, steps, strict=True)
        ]
        offsets = np.stack(np.meshgrid(*lines, indexing="ij"))  # from the centre, in mm; shape (3, ...)
        along = np.clip(np.einsum("i,i...->...", way, offsets), -length / 2, length / 2)
        distance = np.linalg.norm(offsets - way[:, None, None, None] * along, axis=0)
        # a tube thinner than a voxel dims with its share of it
        width = max(radius, float(steps.mean()) / 2)
        share = np.float32(min(1.0, (radius / width) ** 2) * np.exp(-0.5 * (distance / width) ** 2))
        volume[box] = np.maximum(volume[box], share)
    return volume

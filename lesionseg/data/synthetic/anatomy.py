"""One subject's brain: the template bent, its tissues sharpened and refolded."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation

from lesionseg.data.synthetic.fields import Grid, Mask, Volume, ramp, smooth_field
from lesionseg.data.synthetic.parameters import AnatomyParameters, uniform
from lesionseg.data.synthetic.template import Template

_SPARE_MM = 6  # around the brain, for what the smooth displacements add
_SKULL_MM = {"fluid": 2.0, "bone": 8.0, "scalp": 14.0}  # where each ends, from the brain's outline


@dataclass(frozen=True)
class AnatomyDraw:
    """What was drawn of a subject's brain; units as in :class:`AnatomyParameters`."""

    scale: tuple[float, ...]
    tilt_deg: tuple[float, ...]
    flipped: bool
    ventricle_mm: float
    atrophy: float
    outline_mm: float


@dataclass(frozen=True)
class Anatomy:
    """The brain on the grid of the scan.

    Args:
        brain: inside the skull-stripped outline, or with the skull inside the scalp.
        fluid, cortex, deep_grey, white: shares of a voxel, summing to 1 in the brain proper and 0 outside.
        bone, scalp: shares, where the skull is kept.
        depth_mm: distance to the brain's outline, negative outside.
        ventricle_mm: distance to the lateral ventricles, negative inside.
        cortex_mm: distance to the cortex.
        infratentorial: share.
        structure: T1 signal beyond the tissues', white matter being 1.
        side_mm: distance to the midline, in the template.
        length: along the lateral ventricles: 0 at their hind end, 1 at their front end.
    """

    brain: Mask
    fluid: Volume
    cortex: Volume
    deep_grey: Volume
    white: Volume
    bone: Volume | None
    scalp: Volume | None
    depth_mm: Volume
    ventricle_mm: Volume
    cortex_mm: Volume
    infratentorial: Volume
    structure: Volume
    side_mm: Volume
    length: Volume


def draw_anatomy(
    rng: np.random.Generator, grid: Grid, template: Template, parameters: AnatomyParameters
) -> AnatomyDraw:
    """Draw one subject's size, tilt, ventricles and so on; a brain too large for the grid is made to fit."""
    room = np.multiply(grid.shape, grid.spacing) - 2 * (_SKULL_MM["scalp"] * parameters.skull + _SPARE_MM)
    scale = uniform(rng, parameters.scale) * np.exp(parameters.aspect * rng.standard_normal(3))
    scale = np.minimum(scale, room / template.extent_mm)
    return AnatomyDraw(
        scale=tuple(float(factor) for factor in scale),
        tilt_deg=tuple(float(angle) for angle in parameters.rotation_deg * rng.standard_normal(3)),
        flipped=bool(rng.random() < parameters.flip),
        ventricle_mm=uniform(rng, parameters.ventricle_mm),
        atrophy=uniform(rng, parameters.atrophy),
        outline_mm=uniform(rng, parameters.outline_mm),
    )


def make_anatomy(
    rng: np.random.Generator, grid: Grid, template: Template, parameters: AnatomyParameters, drawn: AnatomyDraw
) -> Anatomy:
    """Bend the template to one subject.

    Args:
        rng: for the smooth fields.
        grid: of the scan; the brain's middle is the grid's.
        template: what is bent.
        parameters: how rough and how strong the fields are.
        drawn: the subject's own numbers.
    """
    points = _template_points(rng, grid, parameters, drawn)
    depth = _sample(template, template.depth_mm, points)
    outline = drawn.outline_mm + parameters.outline_roughness_mm * smooth_field(rng, grid, 12.0)
    inside = depth > np.maximum(outline, 0)
    here = np.flatnonzero(inside if not parameters.skull else depth > 0)
    inner = [axis.ravel()[here] for axis in points]

    def warped(map_: Volume) -> Volume:
        return _sample(template, map_, inner)

    ventricle_mm = warped(template.ventricle_mm)
    infratentorial = warped(template.infratentorial)
    folding = np.float32(parameters.folding) * smooth_field(rng, grid, parameters.folding_mm).ravel()[here]
    cortex, deep_grey, white, fluid = _tissues(
        warped(template.cortex),
        warped(template.deep_grey),
        warped(template.white),
        ventricle_mm,
        np.where(infratentorial > 0.5, 0, warped(template.white_mm)),
        parameters,
        folding * (1 - infratentorial),
        drawn,
    )

    def dense(values: Volume, elsewhere: float = 0.0) -> Volume:
        volume = np.full(grid.shape, elsewhere, dtype=np.float32)
        volume.ravel()[here] = values
        return volume

    back, front = template.horns_mm
    bone = scalp = None
    fluid_volume = dense(fluid)
    brain = inside
    if parameters.skull:
        bone, scalp, around = _skull(rng, grid, depth)
        fluid_volume += around
        brain = depth > -_SKULL_MM["scalp"]
    return Anatomy(
        brain=brain,
        fluid=fluid_volume,
        cortex=dense(cortex),
        deep_grey=dense(deep_grey),
        white=dense(white),
        bone=bone,
        scalp=scalp,
        depth_mm=depth,
        ventricle_mm=dense(ventricle_mm - np.float32(drawn.ventricle_mm), 1e3),
        cortex_mm=dense(warped(template.cortex_mm)),
        infratentorial=dense(infratentorial),
        structure=dense(warped(template.structure)),
        side_mm=dense(np.abs(inner[0])),
        length=dense((inner[1] - np.float32(back)) / np.float32(front - back)),
    )


def _template_points(
    rng: np.random.Generator, grid: Grid, parameters: AnatomyParameters, drawn: AnatomyDraw
) -> list[Volume]:
    """Where in the template, in mm from its middle, each voxel of the grid comes from."""
    lines = [np.float32((np.arange(n) - (n - 1) / 2) * step) for n, step in zip(grid.shape, grid.spacing, strict=True)]
    head = np.meshgrid(*lines, indexing="ij", sparse=True)
    matrix = (_rotation(drawn.tilt_deg) / np.array(drawn.scale)[:, None]).astype(np.float32)
    points = []
    for row, mirrored in zip(matrix, (drawn.flipped, False, False), strict=True):
        point: Volume = np.float32(-1 if mirrored else 1) * (row[0] * head[0] + row[1] * head[1] + row[2] * head[2])
        for elastic in parameters.elastic:
            point += np.float32(elastic.amount_mm) * smooth_field(rng, grid, elastic.width_mm)
        points.append(point)
    return points


def _rotation(degrees: tuple[float, ...]) -> npt.NDArray[np.float64]:
    matrix: npt.NDArray[np.float64] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    return matrix


def _sample(template: Template, map_: Volume, points: list[Volume]) -> Volume:
    """The map's values at points in mm, linearly interpolated."""
    voxels = [
        (axis - np.float32(low)) / np.float32(step)
        for axis, low, step in zip(points, template.origin, template.spacing, strict=True)
    ]
    sampled: Volume = ndimage.map_coordinates(map_, voxels, order=1, mode="nearest", output=np.float32)
    return sampled


def _tissues(
    cortex: Volume,
    deep_grey: Volume,
    white: Volume,
    ventricle_mm: Volume,
    white_mm: Volume,
    parameters: AnatomyParameters,
    folding: Volume,
    drawn: AnatomyDraw,
) -> tuple[Volume, Volume, Volume, Volume]:
    """Sharper shares, folds of the subject's own, and ventricles of its own width."""
    ventricle = ramp(drawn.ventricle_mm - ventricle_mm, 1.2)
    # what is fluid in the average brain near the ventricles is wall in a subject with narrower ones
    wall = (1 - ventricle) * (ventricle_mm < max(1.5, 1.5 - drawn.ventricle_mm))
    fluid = np.clip(1 - cortex - deep_grey - white, 0, 1)
    white = white + wall * fluid
    fluid = fluid * (1 - wall)
    # an average brain's sulci are grey: what lies farther from white matter than the cortex is thick is their fluid
    sulcus = ramp(white_mm - 2.0, 2.0) * (cortex < 0.97)
    opening = np.float32(parameters.sulci) * np.clip(white_mm - np.float32(parameters.cortex_mm), -1.0, 2.5)
    odds = [
        np.power(np.maximum(share, 0), np.float32(parameters.sharpness)) * factor
        for share, factor in (
            (cortex, np.exp(folding)),
            (deep_grey, np.float32(1)),
            (white, np.exp(-folding)),
            (np.maximum(fluid, 0.15 * sulcus), np.exp(np.float32(drawn.atrophy) + opening)),
        )
    ]
    total = sum(odds) + np.float32(1e-6)
    cortex, deep_grey, white, _ = (share / total * (1 - ventricle) for share in odds)
    return cortex, deep_grey, white, 1 - cortex - deep_grey - white


def _skull(rng: np.random.Generator, grid: Grid, depth: Volume) -> tuple[Volume, Volume, Volume]:
    """Bone, scalp and the fluid beneath, by their distance from the brain; bone and scalp vary in thickness."""
    beyond = -depth * np.exp(np.float32(0.15) * smooth_field(rng, grid, 25.0))
    outside = (depth <= 0).astype(np.float32)
    fluid = outside * ramp(_SKULL_MM["fluid"] - beyond, 1.0)
    bone = outside * ramp(_SKULL_MM["bone"] - beyond, 1.0) - fluid
    scalp = outside * (depth > -_SKULL_MM["scalp"]) * ramp(_SKULL_MM["scalp"] - beyond, 1.0) - bone - fluid
    return bone, np.maximum(scalp, 0), fluid

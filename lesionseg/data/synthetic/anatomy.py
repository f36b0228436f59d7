"""One subject's brain: the template bent, its tissues sharpened and refolded."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation

from lesionseg.data.synthetic.fields import Grid, Mask, Volume, ramp, smooth_field
from lesionseg.data.synthetic.parameters import AnatomyParameters, SkullLayers, uniform
from lesionseg.data.synthetic.template import Template
from lesionseg.data.synthetic.tissue_shares import BrainMaps, TissueShares, tissue_shares

_SPARE_MM = 6  # around the brain, for what the smooth displacements add


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
    room = np.multiply(grid.shape, grid.spacing) - 2 * (parameters.skull_layers.scalp_mm * parameters.skull + _SPARE_MM)
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
    depth_mm = _sample(template, template.depth_mm, points)
    stripped = _skull_stripped(rng, grid, depth_mm, parameters, drawn)
    here = np.flatnonzero(depth_mm > 0 if parameters.skull else stripped)
    maps = _sampled_maps(template, [axis.ravel()[here] for axis in points])
    folding = _folding(rng, grid, parameters)[here]
    shares = tissue_shares(maps, folding, parameters, ventricle_mm=drawn.ventricle_mm, atrophy=drawn.atrophy)
    anatomy = _on_grid(grid, here, stripped, depth_mm, maps, shares, drawn)
    return _with_skull(rng, grid, anatomy, parameters.skull_layers) if parameters.skull else anatomy


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


def _skull_stripped(
    rng: np.random.Generator, grid: Grid, depth_mm: Volume, parameters: AnatomyParameters, drawn: AnatomyDraw
) -> Mask:
    """What a rough skull-stripping leaves of the brain, never anything beyond it."""
    field = smooth_field(rng, grid, parameters.outline_width_mm)
    outline = drawn.outline_mm + parameters.outline_roughness_mm * field
    inside: Mask = depth_mm > np.maximum(outline, 0)
    return inside


def _sampled_maps(template: Template, points: list[Volume]) -> BrainMaps:
    """Every map of the template at points in mm."""
    names = (
        "white",
        "cortex",
        "deep_grey",
        "ventricle_mm",
        "cortex_mm",
        "white_mm",
        "banks",
        "infratentorial",
        "structure",
    )
    back, front = template.horns_mm
    return BrainMaps(
        **{name: _sample(template, getattr(template, name), points) for name in names},
        side_mm=np.abs(points[0]),
        length=(points[1] - np.float32(back)) / np.float32(front - back),
    )


def _folding(rng: np.random.Generator, grid: Grid, parameters: AnatomyParameters) -> Volume:
    """The subject's own folds: log odds of grey against white matter, for every voxel of the grid in one row."""
    return np.float32(parameters.folding) * smooth_field(rng, grid, parameters.folding_mm).ravel()


def _on_grid(
    grid: Grid,
    here: npt.NDArray[np.intp],
    brain: Mask,
    depth_mm: Volume,
    maps: BrainMaps,
    shares: TissueShares,
    drawn: AnatomyDraw,
) -> Anatomy:
    """The values of the voxels ``here`` (flat indices) as volumes: far from the ventricles elsewhere, 0 else."""

    def dense(values: Volume, elsewhere: float = 0.0) -> Volume:
        volume = np.full(grid.shape, elsewhere, dtype=np.float32)
        volume.ravel()[here] = values
        return volume

    return Anatomy(
        brain=brain,
        fluid=dense(shares.fluid),
        cortex=dense(shares.cortex),
        deep_grey=dense(shares.deep_grey),
        white=dense(shares.white),
        bone=None,
        scalp=None,
        depth_mm=depth_mm,
        ventricle_mm=dense(maps.ventricle_mm - np.float32(drawn.ventricle_mm), 1e3),
        cortex_mm=dense(maps.cortex_mm),
        infratentorial=dense(maps.infratentorial),
        structure=dense(maps.structure),
        side_mm=dense(maps.side_mm),
        length=dense(maps.length),
    )


def _with_skull(rng: np.random.Generator, grid: Grid, anatomy: Anatomy, layers: SkullLayers) -> Anatomy:
    """Bone, scalp and the fluid beneath, by their distance from the brain; they vary in thickness."""
    depth = anatomy.depth_mm
    beyond = -depth * np.exp(np.float32(layers.thickness_log_sd) * smooth_field(rng, grid, layers.width_mm))
    outside = (depth <= 0).astype(np.float32)
    brain = depth > -layers.scalp_mm
    fluid = outside * ramp(layers.fluid_mm - beyond, 1.0)
    bone = outside * ramp(layers.bone_mm - beyond, 1.0) - fluid
    scalp = outside * brain * ramp(layers.scalp_mm - beyond, 1.0) - bone - fluid
    return replace(anatomy, brain=brain, fluid=anatomy.fluid + fluid, bone=bone, scalp=np.maximum(scalp, 0))

"""The healthy brain of one subject: a template's maps, bent to the subject, as shares of tissue in each voxel."""

import math
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cc3d
import edt
import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from scipy import ndimage
from scipy.spatial.transform import Rotation

from lesionseg.errors import InputError
from lesionseg.synthetic.config import AnatomyParameters, SkullLayers
from lesionseg.synthetic.distributions import uniform

Volume = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]
Maps = dict[str, Volume]
_MARGIN_MM = 8  # around the template's brain, for what is sampled just beyond it
_BEYOND_SCALP_MM = 6  # likewise, where the skull is kept, and around a brain that is scaled to fit the grid
_RIDGE_MM = 0.5  # smoothing of the distance whose ridges are looked for
_RIDGE_SLOPES = (0.4, 0.8)  # of the distance: surely a ridge up to the first, none from the second on
_LEAST_BANK_MM = 1.0  # from white matter
_BRAINSTEM_EDGE_MM = 2.0  # smoothing of where the brainstem takes the place of cortex
_NEEDED = ("white", "cortex", "ventricle")
_NUCLEI_MM = (((12, -19, 7), (12, 16, 12)), ((14, 10, 9), (8, 22, 16)), ((25, 1, 0), (10, 21, 12)))  # centre, axes: MNI
_WALL_MM = 1.2  # over which the ventricles' fluid gives way to their wall
_BLURRED_MM = 1.5  # so far beyond its ventricles an average brain is part fluid
_SULCUS_MM = 2.0  # over which sulci become possible


@dataclass(frozen=True)
class Grid:
    """The voxels of a scan: ``shape`` along right, anterior, superior and their ``spacing`` in mm."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel in mm³."""
        return float(np.prod(self.spacing))


def smooth_field(rng: np.random.Generator, grid: Grid, width: float) -> Volume:
    """Draw a Gaussian random field of mean 0 and SD 1.

    Gaussian bumps of SD ``width`` mm on a lattice of that pitch, with random heights: separable, hence three
    small matrix products instead of a filter over the whole volume.
    """
    kernels: list[npt.NDArray[np.float32]] = []
    for size, spacing in zip(grid.shape, grid.spacing, strict=True):
        nodes = np.arange(-2.0 * width, size * spacing + 2.5 * width, width)
        bumps = np.exp(-0.5 * ((np.arange(size)[:, None] * spacing - nodes) / width) ** 2)
        kernels.append((bumps / np.linalg.norm(bumps, axis=1, keepdims=True)).astype(np.float32))
    field: npt.NDArray[Any] = rng.standard_normal([kernel.shape[1] for kernel in kernels], dtype=np.float32)
    for kernel in kernels:
        field = np.tensordot(field, kernel, axes=(0, 1))  # the axis done goes last: three turns restore them
    return np.ascontiguousarray(field)


def ramp(distance: Volume, width: float) -> Volume:
    """Return 0 to 1 over ``width`` mm around ``distance`` 0: a voxel's share of what lies where distance > 0."""
    share: Volume = np.clip(distance / np.float32(width) + np.float32(0.5), 0, 1)
    return share


@dataclass(frozen=True)
class Template:
    """A brain to bend subjects from."""

    spacing: tuple[float, ...]  # mm
    # where voxel (0, 0, 0) lies, in mm from the middle of the brain's box; 0 is the midline along x
    origin: tuple[float, ...]
    # on one grid, RAS, float32. ``white``, ``cortex``, ``deep_grey``: shares; what they leave of the brain is the fluid
    # of sulci and cisterns. ``depth_mm``: to the brain's outline, negative outside. ``ventricle_mm``: to the lateral
    # ventricles, negative inside. ``cortex_mm``, ``white_mm``: to the cortex and the white matter, 0 inside. ``banks``:
    # 0 to 1, where the cortex of two gyri meets, as an average brain shows no sulcus there. ``infratentorial``: 1 in
    # cerebellum and brainstem. ``structure``: what a T1-weighted image shows beyond the tissues' means, white matter
    # being 1
    maps: Maps
    extent_mm: tuple[float, ...]  # size of the brain's box
    horns_mm: tuple[float, float]  # y of the lateral ventricles' hindmost and foremost point


def load_template(anatomy: AnatomyParameters) -> Template:
    """Return the template that ``anatomy`` names, made once in a process."""
    margin = math.ceil(anatomy.skull_layers.scalp_mm) + _BEYOND_SCALP_MM if anatomy.skull else _MARGIN_MM
    if anatomy.labels is None:
        return _mni152(margin)
    labels = tuple((tissue, tuple(values)) for tissue, values in anatomy.tissues.items())
    return _from_labels(Path(anatomy.labels).expanduser(), labels, margin)


@lru_cache(maxsize=1)
def _mni152(margin_mm: int) -> Template:
    from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template

    images = [load(resolution=1) for load in (load_mni152_template, load_mni152_gm_template, load_mni152_wm_template)]
    t1, grey, white = (np.asarray(image.dataobj, dtype=np.float32) for image in images)
    first = images[0].affine[:3, 3]
    brain = ndimage.binary_fill_holes(t1 > 0)
    box = ndimage.find_objects(brain.astype(np.uint8))[0]
    t1, grey, white = (np.pad(map_[box], margin_mm) for map_ in (t1, grey, white))
    brain = np.pad(brain[box], margin_mm)
    start = first + [side.start - margin_mm for side in box]
    lines = [np.float32(np.arange(n) + low) for n, low in zip(brain.shape, start, strict=True)]
    x, y, z = np.meshgrid(*lines, indexing="ij", sparse=True)

    depth = _signed_distance(brain, (1.0, 1.0, 1.0))
    fluid = np.clip(1 - grey - white, 0, 1) * brain
    ventricles = (fluid > 0.5) & (depth > 22) & (np.abs(x) < 45) & (y > -70) & (y < 40) & (z > -15)
    parts = cc3d.connected_components(ventricles, connectivity=6)
    ventricle_mm = -_signed_distance(parts == 1 + np.bincount(parts.ravel())[1:].argmax(), (1.0, 1.0, 1.0))
    # cerebellum below a roof that falls to the sides and to the back, brainstem before it
    cerebellum = (y < -36) & (z < -4 - 0.5 * np.abs(x) - 0.4 * np.maximum(-55 - y, 0))
    brainstem = (z < -8) & ((x / 19) ** 2 + ((y + 25 - 0.25 * (z + 8)) / 18) ** 2 < 1)
    side = np.abs(x)
    nuclei = np.logical_or.reduce(  # thalamus, caudate and lentiform nucleus
        [
            ((side - cx) / ax) ** 2 + ((y - cy) / ay) ** 2 + ((z - cz) / az) ** 2 < 1
            for (cx, cy, cz), (ax, ay, az) in _NUCLEI_MM
        ]
    )
    deep_grey = nuclei.astype(np.float32) * np.clip(1.7 * grey - 0.2, 0, 1)
    # the average brain's ventricles have a grey rim, and its brainstem is neither grey nor white
    surely = nuclei | (ventricle_mm < 4)
    no_cortex = np.maximum(surely, ndimage.gaussian_filter(brainstem.astype(np.float32), _BRAINSTEM_EDGE_MM))
    cortex = (1 - no_cortex) * grey
    white = white + no_cortex * (np.clip(grey + white - deep_grey, 0, 1) - white)
    # structure is T1 less what a mixture of the tissues' means explains
    shares = np.stack([map_[brain] for map_ in (white, cortex, deep_grey)] + [np.ones(brain.sum(), np.float32)], axis=1)
    means, *_ = np.linalg.lstsq(shares[::7].astype(float), t1[brain][::7].astype(float), rcond=None)
    structure = np.zeros_like(t1)
    structure[brain] = (t1[brain] - shares @ means.astype(np.float32)) / np.float32(means[0] + means[3])
    own = {"white": white, "cortex": cortex, "deep_grey": deep_grey, "depth_mm": depth, "ventricle_mm": ventricle_mm}
    own |= {"infratentorial": cerebellum | brainstem, "structure": np.clip(structure, -0.15, 0.15)}
    return _assemble(brain, (1.0, 1.0, 1.0), own)


@lru_cache(maxsize=4)
def _from_labels(path: Path, tissues: tuple[tuple[str, tuple[int, ...]], ...], margin_mm: int) -> Template:
    try:
        image = nib.as_closest_canonical(nib.load(path))
        labels = np.asarray(image.dataobj)
    except (OSError, ImageFileError, EOFError, zlib.error) as error:
        raise InputError(
            f"anatomy.labels: {path} cannot be read ({type(error).__name__}: {error}); give a NIfTI label map, or null "
            "for the MNI152 template"
        ) from error
    if labels.ndim != 3:
        raise InputError(f"anatomy.labels: {path} has {labels.ndim} dimensions; a label map has 3")
    masks = {tissue: np.isin(labels, values) for tissue, values in tissues}
    if lacking := [tissue for tissue in _NEEDED if not masks.get(tissue, np.zeros(1)).any()]:
        found = ", ".join(str(value) for value in np.unique(labels)[:12])
        raise InputError(
            f"anatomy.labels: {path} has no {' and no '.join(lacking)}; its labels are {found}...: say in "
            "anatomy.tissues which label is which tissue"
        )
    spacing = tuple(float(step) for step in image.header.get_zooms()[:3])
    brain = ndimage.binary_fill_holes(np.logical_or.reduce(list(masks.values())))
    box = ndimage.find_objects(brain.astype(np.uint8))[0]
    margin = [(math.ceil(margin_mm / step),) * 2 for step in spacing]
    masks = {tissue: np.pad(mask[box], margin) for tissue, mask in masks.items()}
    brain = np.pad(brain[box], margin)
    softness = [0.6 / step for step in spacing]  # a label has no share of a voxel: edges of about a millimetre
    none = np.zeros(brain.shape, dtype=bool)
    own: dict[str, npt.NDArray[Any]] = {
        tissue: ndimage.gaussian_filter(masks.get(tissue, none).astype(np.float32), softness)
        for tissue in ("white", "cortex", "deep_grey")
    }
    own["white"] += np.clip(ndimage.gaussian_filter(masks["ventricle"].astype(np.float32), softness), 0, 1)
    own |= {
        "depth_mm": _signed_distance(brain, spacing),
        "ventricle_mm": -_signed_distance(masks["ventricle"], spacing),
    }
    own |= {"infratentorial": masks.get("infratentorial", none), "structure": np.zeros_like(own["white"])}
    return _assemble(brain, spacing, own)


def _assemble(brain: Mask, spacing: tuple[float, ...], own: dict[str, npt.NDArray[Any]]) -> Template:
    """Add to a template's own maps those that follow from them."""
    box = ndimage.find_objects(brain.astype(np.uint8))[0]
    middle = [(side.start + side.stop - 1) / 2 * step for side, step in zip(box, spacing, strict=True)]
    ventricle = np.flatnonzero((own["ventricle_mm"] < 0).any(axis=(0, 2))) * spacing[1] - middle[1]
    white_mm = edt.edt(own["white"] + own["deep_grey"] <= 0.5, anisotropy=spacing)
    # banks are the ridges of the distance to white matter: elsewhere it grows by a mm each mm
    smooth = ndimage.gaussian_filter(white_mm, [_RIDGE_MM / step for step in spacing])
    slope = np.sqrt(sum(side**2 for side in np.gradient(smooth, *spacing)))
    flat, steep = _RIDGE_SLOPES
    banks = np.clip((steep - slope) / (steep - flat), 0, 1) * (white_mm > _LEAST_BANK_MM)
    cortex_mm = edt.edt(own["cortex"] <= 0.5, anisotropy=spacing)
    maps = own | {"cortex_mm": cortex_mm, "white_mm": white_mm, "banks": banks}
    return Template(
        spacing=spacing,
        origin=tuple(-start for start in middle),
        maps={name: np.ascontiguousarray(map_, dtype=np.float32) for name, map_ in maps.items()},
        extent_mm=tuple((side.stop - side.start) * step for side, step in zip(box, spacing, strict=True)),
        horns_mm=(float(ventricle.min()), float(ventricle.max())),
    )


def _signed_distance(mask: Mask, spacing: tuple[float, ...]) -> Volume:
    """Return the mm to the mask's surface, positive inside; 0 between the voxels of its edge."""
    half = np.float32(0.5 * np.mean(spacing))
    inside, outside = edt.edt(mask, anisotropy=spacing), edt.edt(~mask, anisotropy=spacing)
    distance: Volume = np.where(mask, inside - half, half - outside)
    return distance


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
    """The brain on the grid of the scan."""

    brain: Mask  # inside the skull-stripped outline, or with the skull inside the scalp
    fluid: Volume  # share of a voxel, as the next three; they sum to 1 in the brain and are 0 outside
    cortex: Volume
    deep_grey: Volume
    white: Volume
    bone: Volume | None  # share, where the skull is kept
    scalp: Volume | None
    depth_mm: Volume  # to the brain's outline, negative outside
    ventricle_mm: Volume  # to the lateral ventricles, negative inside
    cortex_mm: Volume
    infratentorial: Volume  # share
    structure: Volume  # T1 signal beyond the tissues', white matter being 1
    side_mm: Volume  # to the midline, in the template
    length: Volume  # along the lateral ventricles: 0 at their hind end, 1 at their front end


def draw_anatomy(
    rng: np.random.Generator, grid: Grid, template: Template, parameters: AnatomyParameters
) -> AnatomyDraw:
    """Draw one subject's size, tilt, ventricles and so on; a brain too large for the grid is made to fit."""
    around = parameters.skull_layers.scalp_mm * parameters.skull + _BEYOND_SCALP_MM
    room = np.multiply(grid.shape, grid.spacing) - 2 * around
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
    """Bend the template to one subject, whose brain's middle is the grid's; ``rng`` draws the smooth fields."""
    points = _template_points(rng, grid, parameters, drawn)
    depth_mm = _sample(template, "depth_mm", points)
    field = smooth_field(rng, grid, parameters.outline_width_mm)  # rough skull-stripping: less, never more than brain
    brain = depth_mm > np.maximum(drawn.outline_mm + parameters.outline_roughness_mm * field, 0)
    here = np.flatnonzero(depth_mm > 0 if parameters.skull else brain)
    inside = [axis.ravel()[here] for axis in points]
    maps = {name: _sample(template, name, inside) for name in template.maps if name != "depth_mm"}
    folding = (np.float32(parameters.folding) * smooth_field(rng, grid, parameters.folding_mm).ravel())[here]
    shares = tissue_shares(maps, folding, parameters, ventricle_mm=drawn.ventricle_mm, atrophy=drawn.atrophy)
    back, front = template.horns_mm

    def dense(values: Volume, elsewhere: float = 0.0) -> Volume:
        volume = np.full(grid.shape, elsewhere, dtype=np.float32)
        volume.ravel()[here] = values
        return volume

    anatomy = Anatomy(
        brain=brain,
        **{tissue: dense(share) for tissue, share in shares.items()},
        bone=None,
        scalp=None,
        depth_mm=depth_mm,
        ventricle_mm=dense(maps["ventricle_mm"] - np.float32(drawn.ventricle_mm), 1e3),
        cortex_mm=dense(maps["cortex_mm"]),
        infratentorial=dense(maps["infratentorial"]),
        structure=dense(maps["structure"]),
        side_mm=dense(np.abs(inside[0])),
        length=dense((inside[1] - np.float32(back)) / np.float32(front - back)),
    )
    return _with_skull(rng, grid, anatomy, parameters.skull_layers) if parameters.skull else anatomy


def _template_points(
    rng: np.random.Generator, grid: Grid, parameters: AnatomyParameters, drawn: AnatomyDraw
) -> list[Volume]:
    """Return where in the template, in mm from its middle, each voxel of the grid comes from."""
    lines = [np.float32((np.arange(n) - (n - 1) / 2) * step) for n, step in zip(grid.shape, grid.spacing, strict=True)]
    head = np.meshgrid(*lines, indexing="ij", sparse=True)
    rotation = Rotation.from_euler("xyz", drawn.tilt_deg, degrees=True).as_matrix()
    matrix = (rotation / np.array(drawn.scale)[:, None]).astype(np.float32)
    points = []
    for row, mirrored in zip(matrix, (drawn.flipped, False, False), strict=True):
        point: Volume = np.float32(-1 if mirrored else 1) * (row[0] * head[0] + row[1] * head[1] + row[2] * head[2])
        for elastic in parameters.elastic:
            point += np.float32(elastic.amount_mm) * smooth_field(rng, grid, elastic.width_mm)
        points.append(point)
    return points


def _sample(template: Template, name: str, points: list[Volume]) -> Volume:
    """Return a map's values at points in mm, linearly interpolated."""
    voxels = [
        (axis - np.float32(low)) / np.float32(step)
        for axis, low, step in zip(points, template.origin, template.spacing, strict=True)
    ]
    sampled: Volume = ndimage.map_coordinates(template.maps[name], voxels, order=1, mode="nearest", output=np.float32)
    return sampled


def tissue_shares(
    maps: Maps, folding: Volume, parameters: AnatomyParameters, *, ventricle_mm: float, atrophy: float
) -> Maps:
    """Return the shares of fluid, cortex, deep grey and white matter in each voxel of one subject; they sum to 1."""
    ventricle = ramp(ventricle_mm - maps["ventricle_mm"], _WALL_MM)
    # what is the average brain's ventricle but not this subject's is wall
    wall = (1 - ventricle) * (maps["ventricle_mm"] < max(_BLURRED_MM, _BLURRED_MM - ventricle_mm))
    fluid = np.clip(1 - maps["cortex"] - maps["deep_grey"] - maps["white"], 0, 1)
    white, fluid = maps["white"] + wall * fluid, fluid * (1 - wall)
    # an average brain's sulci are grey: what lies farther from white matter than the cortex is thick is their fluid
    white_mm = np.where(maps["infratentorial"] > 0.5, 0, maps["white_mm"])
    sulcus = ramp(white_mm - parameters.sulcus_mm, _SULCUS_MM) * (maps["cortex"] < 0.97)
    low, high = parameters.sulci_range_mm
    opening = np.float32(parameters.sulci) * np.clip(white_mm - np.float32(parameters.cortex_mm), low, high)
    folding = folding * (1 - maps["infratentorial"])
    odds: list[Any] = [
        np.power(np.maximum(share, 0), np.float32(parameters.sharpness)) * factor
        for share, factor in (
            (maps["cortex"], np.exp(folding)),
            (maps["deep_grey"], np.float32(1)),
            (white, np.exp(-folding)),
            (np.maximum(fluid, parameters.sulcus_fluid * sulcus), np.exp(np.float32(atrophy) + opening)),
        )
    ]
    odds[-1] = odds[-1] + np.float32(parameters.narrow_sulci) * maps["banks"] ** 2 * (1 - maps["infratentorial"])
    total = sum(odds) + np.float32(1e-6)
    cortex, deep_grey, white, _ = (share / total * (1 - ventricle) for share in odds)
    return {"fluid": 1 - cortex - deep_grey - white, "cortex": cortex, "deep_grey": deep_grey, "white": white}


def _with_skull(rng: np.random.Generator, grid: Grid, anatomy: Anatomy, layers: SkullLayers) -> Anatomy:
    """Add bone, scalp and the fluid beneath, by their distance from the brain; they vary in thickness."""
    depth = anatomy.depth_mm
    beyond = -depth * np.exp(np.float32(layers.thickness_log_sd) * smooth_field(rng, grid, layers.width_mm))
    outside = (depth <= 0).astype(np.float32)
    brain = depth > -layers.scalp_mm
    fluid = outside * ramp(layers.fluid_mm - beyond, 1.0)
    bone = outside * ramp(layers.bone_mm - beyond, 1.0) - fluid
    scalp = outside * brain * ramp(layers.scalp_mm - beyond, 1.0) - bone - fluid
    return replace(anatomy, brain=brain, fluid=anatomy.fluid + fluid, bone=bone, scalp=np.maximum(scalp, 0))

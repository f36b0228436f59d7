"""The brain that all subjects are bent from: nilearn's MNI152 with its tissue maps, or the user's label map."""

import math
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cc3d
import edt
import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from scipy import ndimage

from lesionseg.data.synthetic.fields import Mask, Volume
from lesionseg.data.synthetic.parameters import AnatomyParameters
from lesionseg.errors import InputError

_MARGIN_MM = 8  # around the brain, for what is sampled just beyond it
_BEYOND_SCALP_MM = 6  # likewise, where the skull is kept
_RIDGE_MM = 0.5  # smoothing of the distance whose ridges are looked for
_RIDGE_SLOPES = (0.4, 0.8)  # of the distance: surely a ridge up to the first, none from the second on
_LEAST_BANK_MM = 1.0  # from white matter
_BRAINSTEM_EDGE_MM = 2.0  # smoothing of where the brainstem takes the place of cortex
_NEEDED = ("white", "cortex", "ventricle")


@dataclass(frozen=True)
class Template:
    """Maps on one grid, RAS, float32.

    Args:
        spacing: mm.
        origin: where voxel (0, 0, 0) lies, in mm from the middle of the brain's box; 0 is the midline along x.
        white, cortex, deep_grey: shares from 0 to 1; what they leave of the brain is the fluid of sulci and cisterns.
        depth_mm: distance to the brain's outline, negative outside.
        ventricle_mm: distance to the lateral ventricles, negative inside.
        cortex_mm: distance to the cortex, 0 inside.
        white_mm: distance to the white matter, 0 inside.
        banks: from 0 to 1, where the cortex of two gyri meets: an average brain shows no sulcus there.
        infratentorial: 1 in cerebellum and brainstem.
        structure: what a T1-weighted image shows beyond the tissues' means, white matter being 1.
        extent_mm: size of the brain's box.
        horns_mm: y of the lateral ventricles' hindmost and foremost point.
    """

    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    white: Volume
    cortex: Volume
    deep_grey: Volume
    depth_mm: Volume
    ventricle_mm: Volume
    cortex_mm: Volume
    white_mm: Volume
    banks: Volume
    infratentorial: Volume
    structure: Volume
    extent_mm: tuple[float, float, float]
    horns_mm: tuple[float, float]


def load_template(anatomy: AnatomyParameters) -> Template:
    """The template that ``anatomy`` names, made once in a process.

    Raises:
        InputError: the label map cannot be read, or lacks a tissue.
    """
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
    ventricle = _largest((fluid > 0.5) & (depth > 22) & (np.abs(x) < 45) & (y > -70) & (y < 40) & (z > -15))
    ventricle_mm = -_signed_distance(ventricle, (1.0, 1.0, 1.0))
    # cerebellum below a roof that falls to the sides and to the back, brainstem before it
    cerebellum = (y < -36) & (z < -4 - 0.5 * np.abs(x) - 0.4 * np.maximum(-55 - y, 0))
    brainstem = (z < -8) & ((x / 19) ** 2 + ((y + 25 - 0.25 * (z + 8)) / 18) ** 2 < 1)
    nuclei = _nuclei(x, y, z)
    deep_grey = nuclei * np.clip(1.7 * grey - 0.2, 0, 1)
    # the average brain's ventricles have a grey rim, and its brainstem is neither grey nor white
    surely = nuclei.astype(bool) | (ventricle_mm < 4)
    no_cortex = np.maximum(surely, ndimage.gaussian_filter(brainstem.astype(np.float32), _BRAINSTEM_EDGE_MM))
    cortex = (1 - no_cortex) * grey
    white = white + no_cortex * (np.clip(grey + white - deep_grey, 0, 1) - white)
    structure = _structure(t1, white, cortex, deep_grey, brain)
    below = cerebellum | brainstem
    return _assemble(brain, (1.0, 1.0, 1.0), white, cortex, deep_grey, depth, ventricle_mm, below, structure)


def _nuclei(x: Volume, y: Volume, z: Volume) -> Volume:
    """Where thalamus, caudate and lentiform nucleus lie in MNI space; mm."""
    side = np.abs(x)
    centres_and_axes = (((12, -19, 7), (12, 16, 12)), ((14, 10, 9), (8, 22, 16)), ((25, 1, 0), (10, 21, 12)))
    inside = [
        ((side - cx) / ax) ** 2 + ((y - cy) / ay) ** 2 + ((z - cz) / az) ** 2 < 1
        for (cx, cy, cz), (ax, ay, az) in centres_and_axes
    ]
    union: Volume = np.logical_or.reduce(inside).astype(np.float32)
    return union


def _structure(t1: Volume, white: Volume, cortex: Volume, deep_grey: Volume, brain: Mask) -> Volume:
    """T1 less what a mixture of the tissues' means explains, white matter being 1."""
    shares = np.stack([map_[brain] for map_ in (white, cortex, deep_grey)] + [np.ones(brain.sum(), np.float32)], axis=1)
    means, *_ = np.linalg.lstsq(shares[::7].astype(float), t1[brain][::7].astype(float), rcond=None)
    rest = np.zeros_like(t1)
    rest[brain] = (t1[brain] - shares @ means.astype(np.float32)) / np.float32(means[0] + means[3])
    return np.clip(rest, -0.15, 0.15)


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
    lacking = [tissue for tissue in _NEEDED if not masks.get(tissue, np.zeros(1)).any()]
    if lacking:
        found = ", ".join(str(value) for value in np.unique(labels)[:12])
        raise InputError(
            f"anatomy.labels: {path} has no {' and no '.join(lacking)}; its labels are {found}...: say in "
            "anatomy.tissues which label is which tissue"
        )
    spacing = tuple(float(step) for step in image.header.get_zooms()[:3])
    brain = ndimage.binary_fill_holes(np.logical_or.reduce(list(masks.values())))
    box = ndimage.find_objects(brain.astype(np.uint8))[0]
    margin = [(int(np.ceil(margin_mm / step)),) * 2 for step in spacing]
    masks = {tissue: np.pad(mask[box], margin) for tissue, mask in masks.items()}
    brain = np.pad(brain[box], margin)
    softness = [0.6 / step for step in spacing]  # a label has no share of a voxel: edges of about a millimetre
    none = np.zeros(brain.shape, dtype=bool)
    white, cortex, deep_grey = (
        ndimage.gaussian_filter(masks.get(tissue, none).astype(np.float32), softness)
        for tissue in ("white", "cortex", "deep_grey")
    )
    ventricle_mm = -_signed_distance(masks["ventricle"], spacing)
    white += np.clip(ndimage.gaussian_filter(masks["ventricle"].astype(np.float32), softness), 0, 1)
    depth = _signed_distance(brain, spacing)
    infratentorial = masks.get("infratentorial", none)
    return _assemble(
        brain, spacing, white, cortex, deep_grey, depth, ventricle_mm, infratentorial, np.zeros_like(white)
    )


def _assemble(
    brain: Mask,
    spacing: tuple[float, ...],
    white: Volume,
    cortex: Volume,
    deep_grey: Volume,
    depth_mm: Volume,
    ventricle_mm: Volume,
    infratentorial: npt.NDArray[np.generic],
    structure: Volume,
) -> Template:
    box = ndimage.find_objects(brain.astype(np.uint8))[0]
    middle = [(side.start + side.stop - 1) / 2 * step for side, step in zip(box, spacing, strict=True)]
    ventricle = np.flatnonzero((ventricle_mm < 0).any(axis=(0, 2))) * spacing[1] - middle[1]
    cortex_mm = edt.edt(cortex <= 0.5, anisotropy=spacing)
    white_mm = edt.edt(white + deep_grey <= 0.5, anisotropy=spacing)
    x, y, z = spacing
    width, length, height = ((side.stop - side.start) * step for side, step in zip(box, spacing, strict=True))
    return Template(
        spacing=(x, y, z),
        origin=(-middle[0], -middle[1], -middle[2]),
        white=_single(white),
        cortex=_single(cortex),
        deep_grey=_single(deep_grey),
        depth_mm=_single(depth_mm),
        ventricle_mm=_single(ventricle_mm),
        cortex_mm=_single(cortex_mm),
        white_mm=_single(white_mm),
        banks=_single(_banks(white_mm, spacing)),
        infratentorial=_single(infratentorial),
        structure=_single(structure),
        extent_mm=(width, length, height),
        horns_mm=(float(ventricle.min()), float(ventricle.max())),
    )


def _banks(white_mm: Volume, spacing: tuple[float, ...]) -> Volume:
    """The ridges of the distance to white matter: elsewhere it grows by a mm each mm."""
    smooth = ndimage.gaussian_filter(white_mm, [_RIDGE_MM / step for step in spacing])
    slope = np.sqrt(sum(side**2 for side in np.gradient(smooth, *spacing)))
    flat, steep = _RIDGE_SLOPES
    ridge: Volume = np.clip((steep - slope) / (steep - flat), 0, 1) * (white_mm > _LEAST_BANK_MM)
    return ridge


def _single(map_: npt.NDArray[np.generic]) -> Volume:
    return np.ascontiguousarray(map_, dtype=np.float32)


def _signed_distance(mask: Mask, spacing: tuple[float, ...]) -> Volume:
    """mm to the mask's surface, positive inside; 0 between the voxels of its edge."""
    half = np.float32(0.5 * np.mean(spacing))
    inside, outside = edt.edt(mask, anisotropy=spacing), edt.edt(~mask, anisotropy=spacing)
    distance: Volume = np.where(mask, inside - half, half - outside)
    return distance


def _largest(mask: Mask) -> Mask:
    labels = cc3d.connected_components(mask, connectivity=6)
    largest: Mask = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    return largest

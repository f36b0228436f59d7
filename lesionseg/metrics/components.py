"""Lesions of a mask as connected components, and what masks, maps and affines must be."""

from math import isfinite, prod
from typing import Any, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

Connectivity = Literal[6, 18, 26]
"""Voxels of one lesion share a face (6), a face or an edge (18), or a face, an edge or a corner (26)."""
Labels = NDArray[np.int32]
Box = tuple[slice, slice, slice]
Spacing = tuple[float, float, float]


def label_components(mask: NDArray[Any], connectivity: Connectivity = 26) -> tuple[Labels, int]:
    """Number the lesions of a mask.

    Args:
        mask: shape (I, J, K), any memory order; every voxel other than zero is lesion, so that an instance map loses
            its instances.
        connectivity: which neighbours belong together.

    Returns:
        Labels of shape (I, J, K), 0 for background and 1 … count for the lesions, in no particular order; the count.

    Raises:
        ValueError: if the mask is not 3D or the connectivity is not 6, 18 or 26.
    """
    if mask.ndim != 3:
        raise ValueError(f"A mask must be 3D, found shape {mask.shape}.")
    if connectivity not in (6, 18, 26):
        raise ValueError(f"Connectivity must be 6, 18 or 26, found {connectivity!r}.")
    if mask.size == 0:
        return np.zeros(mask.shape, dtype=np.int32), 0
    # cc3d labels equal values together, so that it gets 0 and 1. It reads C and Fortran order alike.
    lesion = (mask if mask.dtype == np.bool_ else mask != 0).view(np.uint8)
    if not (lesion.flags.c_contiguous or lesion.flags.f_contiguous):
        lesion = np.ascontiguousarray(lesion)
    labels, count = cc3d.connected_components(lesion, connectivity=connectivity, return_N=True, out_dtype=np.uint32)
    return labels.view(np.int32), int(count)


def component_sizes(labels: Labels, count: int) -> NDArray[np.int64]:
    """Return the voxels of each lesion, shape (count,): entry n belongs to label n + 1."""
    return np.bincount(labels[labels > 0], minlength=count + 1)[1:].astype(np.int64, copy=False)


def voxel_volume(spacing: Spacing) -> float:
    """Return the volume of one voxel in mm³; raise ValueError unless its three edges in mm are positive and finite."""
    if len(spacing) != 3 or not all(isfinite(edge) and edge > 0 for edge in spacing):
        raise ValueError(f"Spacing must be three positive lengths in mm, found {tuple(spacing)}.")
    return float(prod(spacing))


def stays(
    sizes: NDArray[np.int64], min_volume_mm3: float, voxel_volume: float, *, exclusive: bool = False
) -> NDArray[np.bool_]:
    """Return whether lesions of so many voxels are large enough to count, shape (count,).

    One of exactly the minimum is, unless that is ``exclusive``. Volumes within a billionth of it count as equal to it,
    because spacings such as 0.1 mm have no exact binary form.
    """
    if not (isfinite(min_volume_mm3) and min_volume_mm3 >= 0):
        raise ValueError(f"The smallest lesion must be 0 mm³ or more, found {min_volume_mm3}.")
    volumes = sizes * voxel_volume
    return np.asarray(volumes > min_volume_mm3 * (1 + 1e-9) if exclusive else volumes >= min_volume_mm3 * (1 - 1e-9))


def keep_labels(labels: Labels, keep: NDArray[np.bool_]) -> tuple[Labels, int]:
    """Return the labels for which `keep`, shape (count,), is true, numbered 1 … n in order, and n."""
    if keep.all():
        return labels, keep.size
    renumbered = np.zeros(keep.size + 1, dtype=np.int32)
    renumbered[1:][keep] = np.arange(1, keep.sum() + 1, dtype=np.int32)
    return renumbered[labels], int(keep.sum())


def remove_small(
    mask: NDArray[Any], min_volume_mm3: float, spacing: Spacing, connectivity: Connectivity = 26
) -> NDArray[np.bool_]:
    """Return the mask without its lesions strictly smaller than a minimum.

    Args:
        mask: shape (I, J, K), every voxel other than zero is lesion.
        min_volume_mm3: smallest lesion that stays, in mm³; 0 keeps everything.
        spacing: edge lengths of a voxel in mm.
        connectivity: which neighbours belong together.

    Raises:
        ValueError: if the mask is not 3D, or the minimum, spacing or connectivity is impossible.
    """
    labels, count = label_components(mask, connectivity)
    keep = stays(component_sizes(labels, count), min_volume_mm3, voxel_volume(spacing))
    return keep_labels(labels, keep)[0] > 0


def bounding_box(*masks: NDArray[Any]) -> Box:
    """Return the smallest box that holds every voxel other than zero of all masks; empty where there is none."""
    low, high = [0, 0, 0], list(masks[0].shape)
    for axis in (0, 1, 2):  # each look is at what the one before left
        box = tuple(map(slice, low, high))
        others = tuple(other for other in (0, 1, 2) if other != axis)
        (held,) = np.nonzero(np.any([mask[box].any(axis=others) for mask in masks], axis=0))
        if not held.size:
            return slice(0, 0), slice(0, 0), slice(0, 0)
        low[axis], high[axis] = low[axis] + int(held[0]), low[axis] + int(held[-1]) + 1
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])


def surface_voxels(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the voxels that share a face with a voxel outside the mask or the volume, in raster order, (N, 3)."""
    inner = np.pad(mask, 1)
    middle = inner.copy()
    for axis in (0, 1, 2):
        inner &= np.roll(middle, 1, axis) & np.roll(middle, -1, axis)
    return np.argwhere(mask & ~inner[1:-1, 1:-1, 1:-1])


def check_masks(reference: NDArray[Any], prediction: NDArray[Any]) -> None:
    """Raise ValueError unless both are 3D, of one shape, and hold nothing but 0 and 1 (or False and True)."""
    for name, mask in (("reference", reference), ("prediction", prediction)):
        if mask.ndim != 3:
            raise ValueError(f"The {name} must be 3D, found shape {mask.shape}.")
        if mask.dtype == np.bool_ or (mask.dtype == np.uint8 and mask.size and mask.max() <= 1):
            continue
        if np.issubdtype(mask.dtype, np.inexact) and not np.isfinite(mask).all():
            raise ValueError(f"The {name} must be finite, found NaN or infinite values.")
        if not ((mask == 0) | (mask == 1)).all():
            values = np.unique(mask)
            shown = ", ".join(f"{value:g}" for value in values[:6]) + (", …" if values.size > 6 else "")
            raise ValueError(f"The {name} must be a mask of 0 and 1, found the values {shown}.")
    if reference.shape != prediction.shape:
        raise ValueError(
            f"Reference and prediction must share one grid, found shapes {reference.shape} and {prediction.shape}; "
            "resample the prediction to the reference first."
        )


def check_affine(affine: NDArray[Any]) -> None:
    """Raise ValueError unless the voxel-to-world matrix is 4 × 4, finite and invertible."""
    if affine.shape != (4, 4):
        raise ValueError(f"The affine must be 4 × 4, found shape {affine.shape}.")
    if not np.isfinite(affine).all():
        raise ValueError("The affine must be finite, found NaN or infinite entries.")
    if np.linalg.det(affine[:3, :3]) == 0:
        raise ValueError("The affine must be invertible, found one that squeezes the volume flat.")


def check_probability(probability: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Raise ValueError unless the map has the masks' shape and lies within 0 … 1."""
    if probability.shape != shape:
        raise ValueError(f"The probability map must have the masks' shape {shape}, found {probability.shape}.")
    low, high = (float(probability.min()), float(probability.max())) if probability.size else (0.0, 0.0)
    if not (isfinite(low) and isfinite(high)):
        raise ValueError("The probability map must be finite, found NaN or infinite values.")
    if low < 0 or high > 1:
        found = f"found {low:g} … {high:g}; are these logits? Apply a sigmoid."
        raise ValueError(f"Probabilities must lie within 0 … 1, {found}")


def affine_spacing(affine: NDArray[Any]) -> Spacing:
    """Return the edge lengths of a voxel in mm along i, j, k: the norms of a 4 × 4 affine's first three columns."""
    x, y, z = np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3], axis=0).tolist()
    return x, y, z

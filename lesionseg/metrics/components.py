"""Lesions as connected components of a mask."""

from math import isfinite, prod
from typing import Any, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

Connectivity = Literal[6, 18, 26]
"""Voxels of one lesion share a face (6), a face or an edge (18), or a face, an edge or a corner (26)."""

Mask = NDArray[Any]
Labels = NDArray[np.int32]


def label_components(mask: Mask, connectivity: Connectivity = 26) -> tuple[Labels, int]:
    """Number the lesions of a mask.

    Args:
        mask: shape (I, J, K), any memory order; every voxel other than zero (or False) is lesion,
            whatever its value, so that an instance map loses its instances.
        connectivity: which neighbours belong together.

    Returns:
        Labels of shape (I, J, K), 0 for background and 1 … count for the lesions, and the count. The numbers
        carry no meaning beyond telling lesions apart.

    Raises:
        ValueError: if the mask is not 3D or the connectivity is not 6, 18 or 26.
    """
    if mask.ndim != 3:
        raise ValueError(f"A mask must be 3D, found shape {mask.shape}.")
    if connectivity not in (6, 18, 26):
        raise ValueError(f"Connectivity must be 6, 18 or 26, found {connectivity!r}.")
    if mask.size == 0:
        return np.zeros(mask.shape, dtype=np.int32), 0
    # cc3d labels equal values together, so only a 0/1 image gives the components of "not background".
    # It reads C and Fortran order alike; any other layout (a flip, a stride) has to be copied first.
    lesion = (mask if mask.dtype == np.bool_ else mask != 0).view(np.uint8)
    if not (lesion.flags.c_contiguous or lesion.flags.f_contiguous):
        lesion = np.ascontiguousarray(lesion)
    labels, count = cc3d.connected_components(lesion, connectivity=connectivity, return_N=True, out_dtype=np.uint32)
    return labels.view(np.int32), int(count)


def component_sizes(labels: Labels, count: int) -> NDArray[np.int64]:
    """Voxels of each lesion, shape (count,): entry n belongs to label n + 1."""
    return np.bincount(labels.ravel(order="K"), minlength=count + 1)[1:].astype(np.int64, copy=False)


def component_volumes(labels: Labels, count: int, voxel_volume: float) -> NDArray[np.float64]:
    """Volume of each lesion in mm³, shape (count,): entry n belongs to label n + 1.

    Args:
        labels: as from `label_components`.
        count: how many lesions there are.
        voxel_volume: volume of one voxel in mm³, as from `voxel_volume`.
    """
    return component_sizes(labels, count).astype(np.float64) * voxel_volume


def voxel_volume(spacing: tuple[float, float, float]) -> float:
    """Volume of one voxel in mm³ from its three edge lengths in mm.

    Raises:
        ValueError: if there are not three edges, or one is not positive and finite.
    """
    if len(spacing) != 3 or not all(isfinite(edge) and edge > 0 for edge in spacing):
        raise ValueError(f"Spacing must be three positive lengths in mm, found {tuple(spacing)}.")
    return float(prod(spacing))


def stays(
    sizes: NDArray[np.int64], min_volume_mm3: float, voxel_volume: float, *, exclusive: bool = False
) -> NDArray[np.bool_]:
    """Whether each lesion is large enough to count, shape (count,).

    A lesion of exactly the minimum stays; volumes within a billionth of it count as equal to it, because spacings
    such as 0.1 mm have no exact binary form. A minimum of 0 keeps everything.

    Args:
        sizes: voxels of each lesion, shape (count,).
        min_volume_mm3: smallest lesion that counts, in mm³.
        voxel_volume: volume of one voxel in mm³.
        exclusive: a lesion of exactly the minimum goes, too.

    Raises:
        ValueError: if the minimum is negative or not finite.
    """
    if not (isfinite(min_volume_mm3) and min_volume_mm3 >= 0):
        raise ValueError(f"The smallest lesion must be 0 mm³ or more, found {min_volume_mm3}.")
    volumes = sizes * voxel_volume
    return np.asarray(volumes > min_volume_mm3 * (1 + 1e-9) if exclusive else volumes >= min_volume_mm3 * (1 - 1e-9))


def keep_labels(labels: Labels, keep: NDArray[np.bool_]) -> tuple[Labels, int]:
    """The labels for which `keep`, shape (count,), is true, numbered 1 … n in order, and n; the others become 0."""
    if keep.all():
        return labels, keep.size
    renumbered = np.zeros(keep.size + 1, dtype=np.int32)
    renumbered[1:][keep] = np.arange(1, keep.sum() + 1, dtype=np.int32)
    return renumbered[labels], int(keep.sum())


def remove_small(
    mask: Mask,
    min_volume_mm3: float,
    spacing: tuple[float, float, float],
    connectivity: Connectivity = 26,
) -> NDArray[np.bool_]:
    """The mask without its lesions strictly smaller than a minimum; a lesion of exactly the minimum stays.

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

"""What a mask is like, and what is wrong with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lesionseg.data._field_of_view import displacement
from lesionseg.data._scan import Scan
from lesionseg.data.grid import Array
from lesionseg.metrics.components import component_volumes, label_components, voxel_volume

_SHOWN = 5


@dataclass(frozen=True)
class MaskAudit:
    """A mask of a study.

    Args:
        path: its file.
        label: the voxel value that counts; None: every non-zero voxel.
        lesion_count: lesions (26-connected).
        volume_ml: their volume in ml; 0 without lesions.
        smallest_mm3: smallest lesion in mm³; NaN without lesions.
        largest_mm3: largest lesion in mm³; NaN without lesions.
    """

    path: Path
    label: int | None
    lesion_count: int
    volume_ml: float
    smallest_mm3: float
    largest_mm3: float


def audit_mask(scan: Scan, label: int | None, images: Sequence[Scan]) -> tuple[MaskAudit, tuple[str, ...]]:
    """Describe a mask and list what makes it unfit: values that are no mask's, or a grid of its own.

    Args:
        scan: the mask.
        label: the voxel value that counts; None: the mask is binary.
        images: the images it may have been drawn on; it must share the grid of one of them. Without any, its
            grid is not looked at.
    """
    lesion = scan.voxels == label if label is not None else scan.voxels != 0
    labels, count = label_components(lesion)
    volumes = component_volumes(labels, count, voxel_volume(scan.grid.spacing))
    audit = MaskAudit(
        scan.path,
        label,
        count,
        volume_ml=float(volumes.sum() / 1000),
        smallest_mm3=float(volumes.min()) if count else np.nan,
        largest_mm3=float(volumes.max()) if count else np.nan,
    )
    return audit, (*_value_faults(scan.voxels, label), *_grid_faults(scan, images))


def _value_faults(voxels: Array, label: int | None) -> tuple[str, ...]:
    values = np.unique(voxels)  # NaNs count as one value
    if label is not None:
        odd = values[~np.isfinite(values) | (values != np.round(values))]
        if odd.size:
            return (
                f"the mask holds {_listed(odd)}, which are no labels; label {label} counts, and labels are "
                "whole numbers: resample it with nearest neighbour from the original mask",
            )
        return ()
    if values.size == 1 and values[0] != 0:
        return (f"every voxel of the mask is {values[0]:g}, so that there is no background; export it again",)
    binary = np.isfinite(values).all() and values.min() >= 0 and np.count_nonzero(values) <= 1
    if not binary:
        return (
            f"the mask is not binary: it holds {_listed(values)}; keep 0 and one other value (if it was "
            "resampled, use nearest neighbour; if it holds several classes, write a mask for each target)",
        )
    return ()


def _grid_faults(mask: Scan, images: Sequence[Scan]) -> tuple[str, ...]:
    if not images or any(mask.grid.same_as(image.grid) for image in images):
        return ()
    image = images[0]
    if mask.grid.shape != image.grid.shape:
        return (
            f"the mask has the shape {_by(mask.grid.shape)}, the image {image.path} has "
            f"{_by(image.grid.shape)}; resample the mask to the image with nearest neighbour",
        )
    moved = displacement(image.grid, mask.grid)
    return (
        f"the mask lies up to {moved:.3g} voxels away from the image {image.path}: their shapes agree, their "
        "affines do not; if it was drawn on this image, copy the image's affine into its header, otherwise "
        "resample it with nearest neighbour",
    )


def _by(shape: tuple[int, int, int]) -> str:
    return " × ".join(map(str, shape))


def _listed(values: Array) -> str:
    """The first values in words."""
    shown = ", ".join(f"{value:g}" for value in values[:_SHOWN])
    return shown if values.size <= _SHOWN else f"{shown}, ... ({values.size} values)"

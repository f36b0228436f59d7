"""What an image is like, and what is wrong with it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lesionseg.data._scan import Scan
from lesionseg.data.brain import brain_mask
from lesionseg.data.grid import Array

SMALLEST_BRAIN_MM3 = 1000.0
"""A millilitre: a thousandth of a brain, and less than any slab of one that is worth training on."""


@dataclass(frozen=True)
class ImageAudit:
    """An image of a study.

    Args:
        source: which one, ``flair`` or ``prior.flair``.
        path: its file.
        shape: voxels along each axis.
        spacing: edge lengths of a voxel in mm.
        axes: where each axis points to, such as ``RAS``.
        minimum: lowest intensity in the brain, NaN without a brain; as are the next two.
        maximum: highest intensity in the brain.
        median: median intensity in the brain.
        brain_share: share of the volume that is brain (with skull: head), from 0 to 1.
        digest: the same for two images if and only if their voxels are, as float32.
    """

    source: str
    path: Path
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    axes: str
    minimum: float
    maximum: float
    median: float
    brain_share: float
    digest: str


def audit_image(source: str, scan: Scan) -> tuple[ImageAudit, tuple[str, ...]]:
    """Describe an image and list what makes it unfit.

    That is: voxels that are no numbers, one value alone, no brain (less than a millilitre beside the
    background, by the rule that normalises images, `lesionseg.data.brain.brain_mask`).
    """
    brain = brain_mask(_finite(scan.voxels))
    intensities = scan.voxels[brain]
    audit = ImageAudit(
        source,
        scan.path,
        scan.grid.shape,
        scan.grid.spacing,
        scan.axes,
        minimum=float(intensities.min()) if intensities.size else np.nan,
        maximum=float(intensities.max()) if intensities.size else np.nan,
        median=float(np.median(intensities)) if intensities.size else np.nan,
        brain_share=float(brain.mean()),
        digest=_digest(scan),
    )
    return audit, _faults(scan, audit)


def _finite(voxels: Array) -> Array:
    """The voxels with what is no number as the lowest value, so that the rule of the brain can be asked."""
    finite = np.isfinite(voxels)
    if finite.all():
        return voxels
    return np.where(finite, voxels, voxels[finite].min() if finite.any() else 0)


def _faults(scan: Scan, audit: ImageAudit) -> tuple[str, ...]:
    finite = np.isfinite(scan.voxels)
    faults = []
    if not finite.all():
        faults.append(
            f"{int((~finite).sum())} voxels are NaN or infinite; set them to the background and save the image again"
        )
    values = scan.voxels[finite]
    if values.size and values.min() == values.max():
        faults.append(f"every voxel is {values.flat[0]:g}; the image is empty: export it again from its source")
    elif values.size:
        volume = float(audit.brain_share * np.prod(audit.shape) * np.prod(audit.spacing))
        if volume < SMALLEST_BRAIN_MM3:
            faults.append(
                f"no brain: only {volume:.0f} mm³ differ from the background, and {SMALLEST_BRAIN_MM3:.0f} "
                "mm³ is the least; look at the image, its brain mask and its voxel size"
            )
    return tuple(faults)


def _digest(scan: Scan) -> str:
    voxels = scan.voxels.astype(np.float32, copy=False)  # an image saved as int16 and as float32 is one image
    return hashlib.blake2b(voxels.tobytes(order="C"), digest_size=16).hexdigest()

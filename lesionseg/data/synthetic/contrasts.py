"""From tissues and lesions to what a scanner would show."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from lesionseg.data.synthetic.anatomy import Anatomy
from lesionseg.data.synthetic.fields import Grid, Volume, ramp, smooth_field

Contrast = Literal["FLAIR", "T1w", "ce-gadolinium_T1w"]

# Signal of fluid, cortex, deep grey and white matter, white matter being 1.
_TISSUES: dict[Contrast, tuple[float, float, float, float]] = {
    "FLAIR": (0.28, 1.18, 1.08, 1.0),
    "T1w": (0.35, 0.72, 0.85, 1.0),
    "ce-gadolinium_T1w": (0.37, 0.75, 0.87, 1.0),
}


@dataclass(frozen=True)
class Scanner:
    """How a site's scans differ.

    Args:
        gain: int16 value of white matter.
        grey_white: factor on the contrast between grey and white matter.
        noise: SD of the noise, white matter being 1.
        bias: SD of the logarithm of the bias field.
        slice_mm: slice thickness (along superior) before resampling.
    """

    site: str
    gain: float
    grey_white: float
    noise: float
    bias: float
    slice_mm: float


SCANNERS = (
    Scanner("A", 300, 1.0, 0.035, 0.05, 1),
    Scanner("B", 900, 1.2, 0.050, 0.08, 1),
    Scanner("C", 550, 0.9, 0.040, 0.07, 3),
)


def draw_mimics(rng: np.random.Generator, grid: Grid, anatomy: Anatomy) -> dict[Contrast, Volume]:
    """What is bright and no lesion, the same in every session, in SD of the brain.

    On FLAIR thin periventricular caps and bright patches of cortex, after gadolinium vessels and choroid
    plexus.
    """
    patchy = smooth_field(rng, grid, 5.0)
    caps = ramp(2.0 - np.abs(anatomy.ventricle_mm - 1), 2.0) * np.clip(0.7 + patchy, 0, 1.3)
    patches = anatomy.cortex * np.clip(patchy - 0.9, 0, 1)
    strength = rng.uniform(0.7, 1.3, 3).astype(np.float32)
    flair = (1 - anatomy.csf) * strength[0] * caps + 1.6 * strength[1] * patches

    tubes = np.exp(-12 * (smooth_field(rng, grid, 5.0) ** 2 + smooth_field(rng, grid, 5.0) ** 2))
    plexus = ramp(-anatomy.ventricle_mm, 1.5) * np.clip(patchy - 0.4, 0, 1)
    post = strength[2] * (2.2 * tubes * ramp(7 - anatomy.pial_mm, 4.0) + 5 * plexus)
    return {"FLAIR": flair, "T1w": np.zeros(grid.shape, np.float32), "ce-gadolinium_T1w": post}


def acquire(
    rng: np.random.Generator,
    grid: Grid,
    anatomy: Anatomy,
    contrast: Contrast,
    scanner: Scanner,
    added: Volume,
    texture: Volume,
) -> npt.NDArray[np.int16]:
    """Scan once: 1 or more in the brain, 0 outside.

    Args:
        rng: noise, bias, flow and the gain of the day are this scan's own.
        grid, anatomy, contrast, scanner: what is scanned, and how.
        added: lesions and mimics, in SD of the brain.
        texture: the subject's own unevenness, SD 1.
    """
    fluid, cortex, deep, white = _TISSUES[contrast]
    signal = anatomy.csf * np.float32(fluid) + anatomy.white * np.float32(white)
    for share, level in ((anatomy.cortex, cortex), (anatomy.deep_grey, deep)):
        signal += share * np.float32(white + (level - white) * scanner.grey_white)
    sd = signal[anatomy.brain].std()
    signal += sd * (added + np.float32(0.12) * texture)
    if contrast == "FLAIR":  # fluid that moves escapes the inversion
        signal += sd * 5 * anatomy.csf * np.clip(smooth_field(rng, grid, 3.5) - np.float32(1.4), 0, 1)
    if scanner.slice_mm > grid.spacing[2]:  # a box of the slice's thickness has SD thickness / sqrt(12)
        sigma = scanner.slice_mm / np.sqrt(12) / grid.spacing[2]
        signal = ndimage.gaussian_filter1d(signal, sigma, axis=2)
    signal *= np.exp(np.float32(scanner.bias) * smooth_field(rng, grid, 40.0))
    real, imaginary = np.float32(scanner.noise) * rng.standard_normal((2, *grid.shape), dtype=np.float32)
    gain = np.float32(scanner.gain * rng.lognormal(0, 0.1))
    magnitude = np.rint(gain * np.hypot(signal + real, imaginary))
    measured: npt.NDArray[np.int16] = np.clip(magnitude, 1, 32767).astype(np.int16)
    measured[~anatomy.brain] = 0
    return measured

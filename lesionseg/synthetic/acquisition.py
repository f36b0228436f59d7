"""From tissues and lesions to what a scanner shows: contrast, blur, bias, slices, noise, motion, gain."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.transform import Rotation

from lesionseg.synthetic.anatomy import Anatomy, Grid, Mask, Volume, smooth_field
from lesionseg.synthetic.config import ContrastSignals, ScanParameters, Site
from lesionseg.synthetic.distributions import uniform

_LARGEST = 32767


@dataclass(frozen=True)
class Tissues:
    """A subject's signals of one contrast, white matter being 1; ``texture`` in SD of the brain."""

    fluid: float
    cortex: float
    deep_grey: float
    bone: float
    scalp: float
    texture: float


@dataclass(frozen=True)
class Scan:
    """How one scan is acquired; units as in :class:`Site` and :class:`ScanParameters`."""

    gain: float
    grey_white: float
    noise: float
    bias: float
    blur_mm: float
    slice_mm: float
    slice_axis: int
    slice_offset: float  # where the first slice begins, as a share of its thickness
    ghost: float
    ghost_shift: float
    flow: float
    shift_mm: tuple[float, ...] = (0.0, 0.0, 0.0)  # zeros where the scan defines the space, as of the tilt
    tilt_deg: tuple[float, ...] = (0.0, 0.0, 0.0)


def draw_tissues(rng: np.random.Generator, signals: Mapping[str, ContrastSignals]) -> dict[str, Tissues]:
    """Draw a subject's tissues on each contrast."""
    names = ("fluid", "cortex", "deep_grey", "bone", "scalp", "texture")
    return {
        contrast: Tissues(**{name: uniform(rng, getattr(signal, name)) for name in names})
        for contrast, signal in signals.items()
    }


def draw_scan(
    rng: np.random.Generator,
    site: Site,
    parameters: ScanParameters,
    signals: ContrastSignals,
    flow: tuple[float, float],
    displacement: tuple[tuple[float, ...], tuple[float, ...]] | None,
) -> Scan:
    """Draw one scan of a site, with what moving fluid adds and the session's displacement (mm, degrees), if any."""
    scatter = np.exp(
        [parameters.gain_log_sd, parameters.grey_white_log_sd, parameters.noise_log_sd] * rng.standard_normal(3)
    )
    ghost = uniform(rng, parameters.ghost) if rng.random() < parameters.ghost_share else 0.0
    shift, tilt = displacement or ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    return Scan(
        gain=float(site.gain * scatter[0]),
        grey_white=float(site.grey_white * scatter[1]),
        noise=float(site.noise * signals.noise * scatter[2]),
        bias=site.bias,
        blur_mm=site.blur_mm,
        slice_mm=site.slice_mm,
        slice_axis=site.slice_axis,
        slice_offset=float(rng.random()),
        ghost=ghost,
        ghost_shift=uniform(rng, parameters.ghost_shift),
        flow=uniform(rng, flow),
        shift_mm=shift,
        tilt_deg=tilt,
    )


def healthy_signal(anatomy: Anatomy, tissues: Tissues, grey_white: float, structure: float) -> tuple[Volume, float]:
    """Return what a contrast shows without lesions, mimics and noise, white matter being 1, and its SD in the brain."""
    cortex, deep_grey = (1 + (level - 1) * grey_white for level in (tissues.cortex, tissues.deep_grey))
    signal = anatomy.white + np.float32(tissues.fluid) * anatomy.fluid
    signal += np.float32(cortex) * anatomy.cortex
    signal += np.float32(deep_grey) * anatomy.deep_grey
    signal += np.float32(structure) * anatomy.structure * (1 - anatomy.fluid)
    sd = float(signal[anatomy.brain & (anatomy.depth_mm > 0)].std())
    if anatomy.bone is not None and anatomy.scalp is not None:
        signal += np.float32(tissues.bone) * anatomy.bone + np.float32(tissues.scalp) * anatomy.scalp
    return signal, sd


def acquire(
    rng: np.random.Generator, grid: Grid, brain: Mask, signal: Volume, scan: Scan, bias_mm: float
) -> npt.NDArray[np.int16]:
    """Scan a signal (white matter being 1; it is overwritten): 1 or more inside ``brain``, 0 outside."""
    signal = np.maximum(signal, np.float32(0.02))
    if any(scan.shift_mm) or any(scan.tilt_deg):
        signal = _displaced(signal, grid, brain, scan)
    for axis, step in enumerate(grid.spacing):
        if axis != scan.slice_axis and scan.blur_mm > 0.25 * step:
            signal = ndimage.gaussian_filter1d(signal, scan.blur_mm / step, axis=axis, truncate=3.0)
    signal *= np.exp(np.float32(scan.bias) * smooth_field(rng, grid, bias_mm))
    if scan.ghost:
        signal += np.float32(scan.ghost) * np.roll(signal, round(scan.ghost_shift * grid.shape[1]), axis=1)
    if scan.slice_mm > 1.2 * grid.spacing[scan.slice_axis]:
        cut, back = _slices(grid, scan)
        slices = _magnitude(rng, _along(signal, cut, scan.slice_axis), scan.noise)
        signal = _along(slices, back, scan.slice_axis)
    else:
        signal = _magnitude(rng, signal, scan.noise)
    measured: npt.NDArray[np.int16] = np.clip(np.rint(np.float32(scan.gain) * signal), 1, _LARGEST).astype(np.int16)
    measured[~brain] = 0
    return measured


def _displaced(signal: Volume, grid: Grid, brain: Mask, scan: Scan) -> Volume:
    """Return the signal turned about the grid's middle and shifted; only the brain is looked at."""
    steps = np.array(grid.spacing)
    matrix = Rotation.from_euler("xyz", scan.tilt_deg, degrees=True).as_matrix() * steps / steps[:, None]
    middle = (np.array(grid.shape) - 1) / 2
    offset = middle - matrix @ middle + np.array(scan.shift_mm) / steps
    voxels = np.stack(np.nonzero(brain)).astype(np.float32)
    points = matrix.astype(np.float32) @ voxels + offset.astype(np.float32)[:, None]
    moved = np.zeros(grid.shape, dtype=np.float32)
    moved[brain] = ndimage.map_coordinates(signal, points, order=1, mode="nearest", output=np.float32)
    return moved


def _slices(grid: Grid, scan: Scan) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return two matrices along the slice axis: voxels to slices (a box of their thickness), and linearly back."""
    step, size = grid.spacing[scan.slice_axis], grid.shape[scan.slice_axis]
    thickness = scan.slice_mm / step
    starts = np.arange(-scan.slice_offset * thickness, size, thickness)
    voxels = np.arange(size)
    overlap = np.minimum(starts[:, None] + thickness, voxels + 1) - np.maximum(starts[:, None], voxels)
    cut = np.clip(overlap, 0, 1)
    cut /= cut.sum(axis=1, keepdims=True)
    centres = starts + thickness / 2 - 0.5
    back = np.stack([np.interp(voxels, centres, row) for row in np.eye(len(starts))], axis=1)
    return cut.astype(np.float32), back.astype(np.float32)


def _along(volume: Volume, matrix: npt.NDArray[np.float32], axis: int) -> Volume:
    product: Volume = np.ascontiguousarray(np.moveaxis(np.tensordot(matrix, volume, axes=(1, axis)), 0, axis))
    return product


def _magnitude(rng: np.random.Generator, signal: Volume, noise: float) -> Volume:
    """Rician: the magnitude of a signal with Gaussian noise in both of its parts."""
    real = np.float32(noise) * rng.standard_normal(signal.shape, dtype=np.float32)
    imaginary = np.float32(noise) * rng.standard_normal(signal.shape, dtype=np.float32)
    magnitude: Volume = np.hypot(signal + real, imaginary)
    return magnitude

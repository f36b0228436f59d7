"""Building blocks of the phantom: the voxel grid, smooth random fields and soft edges."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Volume = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]


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
    """A Gaussian random field of mean 0 and SD 1.

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
    """0 to 1 over ``width`` mm around ``distance`` 0: a voxel's share of what lies where distance > 0."""
    share: Volume = np.clip(distance / np.float32(width) + np.float32(0.5), 0, 1)
    return share

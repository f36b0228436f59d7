"""A scan of known tissues: contrast, blur, slices, noise, ghosts and displacement, each held against arithmetic."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage, stats

from lesionseg.synthetic.acquisition import (
    Scan,
    Tissues,
    _magnitude,
    _slices,
    acquire,
    healthy_signal,
)
from lesionseg.synthetic.anatomy import Anatomy, Grid

PLAIN = Scan(
    gain=100.0, grey_white=1.0, noise=0.0, bias=0.0, blur_mm=0.0, slice_mm=0.5, slice_axis=2, slice_offset=0.0,
    ghost=0.0, ghost_shift=0.3, flow=0.0,
)  # fmt: skip
GRID = Grid((20, 24, 18), (1.0, 1.0, 1.0))


def scan(signal, how=PLAIN, grid=None, seed=0, bias_mm=45.0):
    """A scan of the whole grid."""
    steps = grid.spacing if grid else (1.0, 1.0, 1.0)
    i, j, k = signal.shape
    own = Grid((i, j, k), steps)
    everywhere = np.ones(signal.shape, dtype=bool)
    return acquire(np.random.default_rng(seed), own, everywhere, signal.astype(np.float32), how, bias_mm)


def even(value: float = 1.0, shape: tuple[int, ...] = GRID.shape) -> npt.NDArray[np.float32]:
    return np.full(shape, value, np.float32)


def random_signal(seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(0.5, 2, GRID.shape).astype(np.float32)


@pytest.fixture
def cutting() -> Callable[..., tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """The two matrices of a slice profile along axis 2: ``cutting(size, step, thickness, offset)``."""

    def cut(size: int, step: float, thickness: float, offset: float) -> Any:
        grid = Grid((2, 2, size), (1.0, 1.0, step))
        return _slices(grid, replace(PLAIN, slice_mm=thickness, slice_offset=offset))

    return cut


class TestHealthySignal:
    LEVELS = Tissues(fluid=0.2, cortex=1.3, deep_grey=1.1, bone=0.4, scalp=2.0, texture=0.0)

    @staticmethod
    def row(**shares: list[float]) -> Anatomy:
        """Five voxels in a row: white, cortex, deep grey, fluid, half cortex and half fluid; then outside."""
        none = np.zeros((1, 1, 7), np.float32)
        volumes: dict[str, Any] = {
            "white": [1, 0, 0, 0, 0, 0, 0],
            "cortex": [0, 1, 0, 0, 0.5, 0, 0],
            "deep_grey": [0, 0, 1, 0, 0, 0, 0],
            "fluid": [0, 0, 0, 1, 0.5, 0, 0],
            "structure": [0.1, 0, 0, 0.1, 0.1, 0, 0],
            "depth_mm": [3, 3, 3, 3, 3, -2, -4],
        } | shares
        made = {name: np.array(values, np.float32)[None, None] for name, values in volumes.items()}
        others = ("ventricle_mm", "cortex_mm", "infratentorial", "side_mm", "length")
        skull = {name: made.get(name) for name in ("bone", "scalp")}
        brain = made["depth_mm"] > (-10 if shares else 0)
        return Anatomy(brain=brain, **(made | skull), **dict.fromkeys(others, none))

    def test_by_hand(self):
        signal, sd = healthy_signal(self.row(), self.LEVELS, 1.0, 0.0)
        assert signal.ravel() == pytest.approx([1, 1.3, 1.1, 0.2, 0.75, 0, 0])
        assert sd == pytest.approx(np.std([1, 1.3, 1.1, 0.2, 0.75]))


class TestSlices:
    def test_a_step_by_hand(self, cutting):
        cut, back = cutting(9, 1.0, 3.0, 0.0)
        line = np.array([0, 0, 0, 0, 6, 6, 6, 6, 6.0])
        slices = cut @ line
        assert slices == pytest.approx([0, 4, 6]), "the second slice holds two of its three voxels"
        assert back @ slices == pytest.approx([0, 0, 4 / 3, 8 / 3, 4, 14 / 3, 16 / 3, 6, 6]), "linear between centres"
        shifted, _ = cutting(9, 1.0, 3.0, 1 / 3)
        assert shifted @ line == pytest.approx([0, 2, 6, 6]), "slices of voxels 0-1, 2-4, 5-7, 8"


class TestNoise:
    def test_where_there_is_no_signal_it_is_rayleighs(self):
        noise = _magnitude(np.random.default_rng(0), even(0.0, (60, 60, 60)), 0.3).ravel()
        assert noise.mean() == pytest.approx(0.3 * np.sqrt(np.pi / 2), rel=0.005)
        assert noise.std() == pytest.approx(0.3 * np.sqrt(2 - np.pi / 2), rel=0.01)
        assert stats.kstest(noise[:5000], stats.rayleigh(scale=0.3).cdf).pvalue > 1e-3


class TestAcquire:
    def test_0_outside_the_brain_and_1_or_more_within(self):
        brain = np.zeros(GRID.shape, bool)
        brain[4:16, 5:20, 3:15] = True
        for how in (PLAIN, replace(PLAIN, noise=0.2, bias=0.1, blur_mm=1.0, ghost=0.05, slice_mm=3.0, gain=1.0)):
            image = acquire(np.random.default_rng(0), GRID, brain, random_signal() * 0.3, how, 45.0)
            assert np.array_equal(image > 0, brain)
        dark = acquire(np.random.default_rng(0), GRID, brain, even(-5.0), replace(PLAIN, gain=10.0), 45.0)
        assert np.array_equal(dark, brain.astype(np.int16)), "even where nothing shows"

    def test_blur_is_as_wide_as_told_within_the_slice(self):
        point = even(0.02, (33, 33, 33))
        point[16, 16, 16] = 100.0
        grid = Grid((33, 33, 33), (1.0, 2.0, 1.0))
        image = scan(point, replace(PLAIN, blur_mm=3.0, slice_mm=1.0), grid) - 2.0
        assert image.sum() == pytest.approx(100 * 100, rel=0.02)
        for axis, sd in enumerate((3.0, 1.5, 0.0)):  # voxels
            line = image.sum(axis=tuple(other for other in range(3) if other != axis))
            voxels = np.arange(33) - 16
            assert np.sqrt((line * voxels**2).sum() / line.sum()) == pytest.approx(sd, abs=0.08)
        signal = random_signal()
        blurred = scan(signal, replace(PLAIN, blur_mm=0.8, slice_axis=0))
        assert np.allclose(blurred, 100 * ndimage.gaussian_filter(signal, (0, 0.8, 0.8), truncate=3.0), atol=1)

    def test_a_ghost_is_displaced_along_the_second_axis(self):
        signal = even(0.02)
        signal[5:9, 4:8, 6:10] = 2.0
        image = scan(signal, replace(PLAIN, gain=1000.0, ghost=0.05, ghost_shift=0.25))
        expected = signal + 0.05 * np.roll(signal, 6, axis=1)  # a quarter of 24 voxels
        assert np.allclose(image, 1000 * expected, atol=1)
        assert image[6, 11, 7] == pytest.approx(120, abs=1)
        assert np.array_equal(scan(signal, replace(PLAIN, ghost_shift=0.25)), scan(signal)), "none without strength"

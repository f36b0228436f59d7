"""Random fields as smooth as they are told to be, in mm and not in voxels."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from lesionseg.synthetic.anatomy import Grid, ramp, smooth_field

WIDTH = 3.0
GRIDS = [Grid((12, 11, 10), (1.0, 1.0, 1.0)), Grid((9, 12, 7), (2.0, 1.0, 3.0))]
FIELDS = 2000


@pytest.fixture(scope="module", params=GRIDS, ids=lambda grid: str(grid.spacing))
def fields(request: pytest.FixtureRequest) -> tuple[Grid, npt.NDArray[np.float32]]:
    """Many fields of one grid, along the first axis."""
    rng = np.random.default_rng(0)
    return request.param, np.stack([smooth_field(rng, request.param, WIDTH) for _ in range(FIELDS)])


def correlation(fields: npt.NDArray[np.floating], axis: int, lag: int) -> float:
    """Of voxels that lie ``lag`` apart along an axis of the grid."""
    turned = np.moveaxis(fields, axis + 1, 0)
    first, second = turned[: len(turned) - lag].ravel(), turned[lag:].ravel()
    return float(np.corrcoef(first, second)[0, 1])


def test_a_voxels_volume() -> None:
    assert Grid((4, 5, 6), (0.5, 2.0, 3.0)).voxel_mm3 == 3.0


def test_mean_is_0_and_sd_1_at_the_edges_as_in_the_middle(fields: tuple[Grid, npt.NDArray[np.float32]]) -> None:
    grid, drawn = fields
    assert drawn.shape[1:] == grid.shape
    assert (drawn.dtype, drawn.flags.c_contiguous) == (np.float32, True)
    assert np.abs(drawn.mean(axis=0)).max() < 6 / np.sqrt(FIELDS)
    assert drawn.std(axis=0) == pytest.approx(np.ones(grid.shape), abs=6 / np.sqrt(2 * FIELDS))


def test_correlation_falls_with_the_distance_in_mm(fields: tuple[Grid, npt.NDArray[np.float32]]) -> None:
    """White noise under bumps of SD w: the bumps' own autocorrelation, a Gaussian of SD w·√2."""
    grid, drawn = fields
    for axis, step in enumerate(grid.spacing):
        for lag in range(1, grid.shape[axis] - 2):
            expected = np.exp(-((lag * step) ** 2) / (4 * WIDTH**2))
            assert correlation(drawn, axis, lag) == pytest.approx(expected, abs=0.06)
            turned = np.moveaxis(drawn, axis + 1, 0)
            for edge, inner in ((0, lag), (-1, -1 - lag)):
                found = np.corrcoef(turned[edge].ravel(), turned[inner].ravel())[0, 1]
                assert found == pytest.approx(expected, abs=0.045), "at the edges too"
    one_diagonal = np.corrcoef(drawn[:, :-1, :-1].ravel(), drawn[:, 1:, 1:].ravel())[0, 1]
    squared = grid.spacing[0] ** 2 + grid.spacing[1] ** 2
    assert one_diagonal == pytest.approx(np.exp(-squared / (4 * WIDTH**2)), abs=0.06)


def test_correlates_as_filtered_noise_does() -> None:
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((4, 40, 40, 40))
    filtered = ndimage.gaussian_filter(noise, (0, 2, 2, 2), mode="wrap")
    grid = Grid((40, 40, 40), (1.0, 1.0, 1.0))
    drawn = np.stack([smooth_field(rng, grid, 2.0) for _ in range(4)])
    for lag in (1, 2, 4, 6):
        assert correlation(drawn, 0, lag) == pytest.approx(correlation(filtered, 0, lag), abs=0.08)


def test_only_the_ratio_of_width_and_spacing_matters() -> None:
    fine, coarse = Grid((8, 9, 10), (1.0, 1.5, 2.0)), Grid((8, 9, 10), (2.0, 3.0, 4.0))
    first = smooth_field(np.random.default_rng(3), fine, 2.0)
    assert np.array_equal(first, smooth_field(np.random.default_rng(3), coarse, 4.0))
    assert not np.array_equal(first, smooth_field(np.random.default_rng(4), fine, 2.0))


def test_ramp_by_hand() -> None:
    distance = np.array([-9, -1, -0.5, 0, 0.5, 1, 9], dtype=np.float32)
    assert ramp(distance, 2.0).tolist() == [0, 0, 0.25, 0.5, 0.75, 1, 1]
    assert ramp(distance, 1.0).tolist() == [0, 0, 0, 0.5, 1, 1, 1]
    assert ramp(distance, 2.0).dtype == np.float32


def test_ramp_keeps_the_volume_of_a_half_space() -> None:
    distance = np.linspace(-5, 5, 1001)
    assert ramp(distance, 3.0).mean() == pytest.approx(np.mean(distance > 0), abs=1e-3)
    assert ramp(distance, 3.0) + ramp(-distance, 3.0) == pytest.approx(np.ones(1001))

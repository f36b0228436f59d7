import numpy as np
import pytest

from lesionseg.data.preprocessing import bounding_box, brain_mask, zscore

INSIDE = (slice(3, 13), slice(2, 12), slice(4, 14))


def brain(background: float = 0.0, shift: float = 500.0, scale: float = 100.0) -> np.ndarray:
    volume = np.full((16, 15, 17), float(background))
    volume[INSIDE] = np.random.default_rng(0).normal(shift, scale, (10, 10, 10))
    return volume


def is_inside(mask: np.ndarray) -> bool:
    expected = np.zeros((16, 15, 17), dtype=bool)
    expected[INSIDE] = True
    return mask.dtype == bool and bool(np.array_equal(mask, expected))


@pytest.mark.parametrize(
    ("background", "shift"),
    [(0, 500), (0, 0), (-1000, 0), (-3.5, 0), (1000, 0), (0, -500)],
    ids=["plain", "z-scored", "like CT", "z-scored with air", "bright background", "dark brain"],
)
def test_a_skull_stripped_brain_is_what_differs_from_the_background(background: float, shift: float) -> None:
    assert is_inside(brain_mask(brain(background, shift)))
    assert is_inside(brain_mask(brain(background, shift).astype(np.float32)))


def test_a_z_scored_image_has_the_brain_that_it_was_scored_in() -> None:
    first = brain_mask(brain())
    second = brain_mask(zscore(brain(), first))
    np.testing.assert_array_equal(second, first)


@pytest.mark.parametrize("corner", [(0, 0, 0), (-1, 0, -1), (-1, -1, -1)])
def test_the_background_is_the_value_of_most_corners(corner) -> None:
    volume = brain()
    volume[corner] = 77  # a marker, or a brain that reaches the corner
    mask = brain_mask(volume)
    assert mask[corner]
    mask[corner] = False
    assert is_inside(mask)


@pytest.mark.parametrize(("zeros", "skull_stripped"), [(20, False), (21, True)])
def test_the_background_is_more_than_a_fifth(zeros: int, skull_stripped: bool) -> None:
    """Ten slices of ten voxels, ``zeros`` of these 100 at the outer ends."""
    volume = np.arange(1.0, 101.0).reshape(1, 1, 100)
    volume[..., : zeros // 2] = volume[..., 100 - (zeros - zeros // 2) :] = 0
    expected = volume != 0 if skull_stripped else volume > volume.mean()
    np.testing.assert_array_equal(brain_mask(volume), expected)


def test_a_head_in_noisy_air_is_what_lies_above_the_mean() -> None:
    volume = np.abs(np.random.default_rng(1).normal(0, 5, (16, 15, 17)))
    volume[INSIDE] += 500
    assert is_inside(brain_mask(volume))


def test_one_value_alone_is_no_brain() -> None:
    assert not brain_mask(np.full((4, 4, 4), 7.0)).any()


def test_the_box_is_the_smallest_around_the_mask() -> None:
    mask = np.zeros((10, 12, 8), dtype=bool)
    mask[2, 3, 7] = mask[5, 1, 6] = True
    assert bounding_box(mask) == (slice(2, 6), slice(1, 4), slice(6, 8))
    assert bounding_box(mask, 2) == (slice(0, 8), slice(0, 6), slice(4, 8))
    assert bounding_box(mask, 100) == (slice(0, 10), slice(0, 12), slice(0, 8))


def test_the_box_of_nothing_is_everything() -> None:
    assert bounding_box(np.zeros((3, 4, 5)), 1) == (slice(0, 3), slice(0, 4), slice(0, 5))


def test_a_z_score_by_hand() -> None:
    scored = zscore(np.array([[[2.0, 4.0, 6.0, 99.0]]]), np.array([[[True, True, True, False]]]))
    np.testing.assert_allclose(scored.ravel(), [-np.sqrt(1.5), 0, np.sqrt(1.5), 0], rtol=1e-6)
    assert scored.dtype == np.float32


def test_a_z_score_has_mean_0_and_deviation_1_in_the_mask_whatever_the_units() -> None:
    mask = brain_mask(brain())
    scored = zscore(brain(), mask)
    assert scored[mask].mean() == pytest.approx(0, abs=1e-5)
    assert scored[mask].std() == pytest.approx(1, abs=1e-5)
    assert not scored[~mask].any()
    np.testing.assert_allclose(zscore(3 * brain() + 70, mask), scored, atol=1e-4)


@pytest.mark.parametrize("mask", [np.zeros((2, 2, 2), bool), np.ones((2, 2, 2), bool)], ids=["nothing", "one value"])
def test_no_contrast_is_an_error(mask) -> None:
    with pytest.raises(ValueError, match=r"^the image has no contrast inside the brain$"):
        zscore(np.full((2, 2, 2), 7.0), mask)

"""A study made ready: what lies where in the world, and every map back on the scanner's grid."""

from itertools import pairwise, permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nibabel.affines import apply_affine
from scipy import ndimage

from lesionseg.data.dataset import MaskFile
from lesionseg.data.nifti import Grid, resample
from lesionseg.data.preprocessing import brain_mask, prepare, to_native

MM = (1.0, 1.0, 1.0)
OBLIQUE = np.array([[0.97, 0.17, 0.17], [-0.2, 0.97, 0.14], [-0.14, -0.17, 0.98]])
OBLIQUE = np.linalg.qr(OBLIQUE)[0] * np.sign(np.diag(np.linalg.qr(OBLIQUE)[1]))


def grid_of(shape, spacing, axes=(0, 1, 2), flips=(1, 1, 1), turn=None, centre=(4.0, -6.0, 9.0)) -> Grid:
    """A grid around a place in the world, its voxel axes permuted and flipped."""
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turn is None else turn)[:, list(axes)] * flips * np.array(spacing)
    affine[:3, 3] = np.array(centre) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def places(grid: Grid) -> np.ndarray[Any, Any]:
    return apply_affine(grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1))


def head(grid: Grid, blob, seed: int = 0) -> np.ndarray[Any, Any]:
    """A ball of 13 mm around (4, -6, 9) mm in a background of zeros, with a bright blob somewhere in the world."""
    world = places(grid)
    noise = np.random.default_rng(seed).normal(100, 3, grid.shape)
    bright = 400 * np.exp(-((world - blob) ** 2).sum(-1) / (2 * 2.5**2))
    return np.where(np.linalg.norm(world - [4, -6, 9], axis=-1) < 13, noise + bright, 0)


def where_bright(image, grid: Grid) -> np.ndarray[Any, Any]:
    """The centre of gravity of what is brighter than half the maximum, in mm."""
    image = np.asarray(image, dtype=float)
    return np.average(places(grid)[image > image.max() / 2], axis=0, weights=image[image > image.max() / 2])


GRIDS = {
    "upright": grid_of((34, 36, 38), MM),
    "anisotropic": grid_of((34, 40, 16), (1.0, 0.9, 2.5)),
    "flipped": grid_of((34, 36, 30), (1.0, 1.0, 1.2), flips=(-1, -1, 1)),
    "sagittal": grid_of((20, 34, 36), (1.7, 1.0, 1.0), axes=(0, 2, 1), flips=(1, -1, -1)),
    "oblique": grid_of((40, 38, 40), MM, turn=OBLIQUE),
    "oblique, permuted": grid_of((36, 38, 22), (1.1, 1.0, 2.0), (2, 0, 1), (-1, 1, -1), OBLIQUE),
}
EACH = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())


@EACH
def test_every_image_lies_where_it_lies_in_the_world(tmp_path, write_scan, task_study, grid):
    """A contrast and the prior session on other grids than the first image, each with a blob of its own."""
    blobs = {"flair": (8.0, -3.0, 7.0), "t1": (-2.0, -8.0, 12.0), "prior.flair": (5.0, -12.0, 3.0)}
    grids = {"flair": grid, "t1": GRIDS["anisotropic"], "prior.flair": GRIDS["oblique, permuted"]}
    paths = {
        name: write_scan(tmp_path / f"{name}.nii", head(grids[name], blob, seed), grids[name].affine)
        for seed, (name, blob) in enumerate(blobs.items())
    }
    prepared = prepare(task_study(paths), MM)
    assert prepared.grid.spacing == pytest.approx(MM)
    assert prepared.images.shape == (3, *prepared.grid.shape)
    for image, blob in zip(prepared.images, blobs.values(), strict=True):
        np.testing.assert_allclose(where_bright(image, prepared.grid), blob, atol=0.35)


@EACH
def test_a_probability_map_comes_back_to_its_place(tmp_path, write_scan, task_study, grid):
    path = write_scan(tmp_path / "flair.nii", head(grid, (4.0, -6.0, 9.0)), grid.affine)
    prepared = prepare(task_study({"flair": path}), MM)
    place = np.array([7.0, -9.0, 11.0])
    working = np.exp(-((places(prepared.grid) - place) ** 2).sum(-1) / (2 * 3.0**2))
    native = to_native(working, prepared.grid, prepared.native)
    assert native.shape == grid.shape
    assert native.dtype == np.float32
    np.testing.assert_allclose(where_bright(native, grid), place, atol=0.15)
    expected = np.exp(-((places(grid) - place) ** 2).sum(-1) / (2 * 3.0**2))
    np.testing.assert_allclose(native, expected, atol=0.06)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("turn", [None, OBLIQUE], ids=["upright", "oblique"])
def test_a_map_of_the_scans_own_spacing_comes_back_exactly(axes, turn, tmp_path, write_scan, task_study):
    for flips in list(product((1, -1), repeat=3))[:: 1 if turn is None else 3]:
        grid = grid_of((34, 36, 38), MM, axes, flips, turn)
        path = write_scan(tmp_path / "flair.nii", head(grid, (4.0, -6.0, 9.0)), grid.affine)
        prepared = prepare(task_study({"flair": path}), MM)
        assert np.all(np.array(prepared.grid.shape) < grid.canonical().shape)
        working = np.random.default_rng(0).random(prepared.grid.shape).astype(np.float32)
        native = to_native(working, prepared.grid, prepared.native)
        index = apply_affine(np.linalg.inv(prepared.grid.affine) @ prepared.native.affine, np.argwhere(native > 0))
        np.testing.assert_allclose(index, index.round(), atol=1e-3)
        np.testing.assert_array_equal(native[native > 0], working[tuple(index.round().astype(int).T)])
        assert (native > 0).sum() == (working > 0).sum()


def test_a_map_comes_back_to_a_mask_that_was_drawn_on_a_part_of_the_scan(tmp_path, write_scan, task_study):
    """The mask's grid begins five voxels later and ends sooner, inside the brain's box."""
    scan = GRIDS["upright"]
    part = scan.crop((slice(12, 26), slice(8, 30), slice(10, 24)))
    flair = write_scan(tmp_path / "flair.nii", head(scan, (4.0, -6.0, 9.0)), scan.affine)
    mask = write_scan(tmp_path / "mask.nii", np.zeros(part.shape, np.uint8), part.affine)
    prepared = prepare(task_study({"flair": flair}, MaskFile(mask)), MM)
    working = np.random.default_rng(0).random(prepared.grid.shape).astype(np.float32)
    native = to_native(working, prepared.grid, prepared.native)
    assert prepared.native.same_as(part)
    corner = np.round(np.linalg.solve(prepared.grid.affine, part.affine[:, 3])[:3]).astype(int)
    expected = working[tuple(slice(at, at + size) for at, size in zip(corner, part.shape, strict=True))]
    np.testing.assert_allclose(native, expected, atol=1e-4)


@pytest.fixture
def lesion_study(tmp_path: Path, write_scan, task_study):
    """A study with a mask of three lesions, one of them of label 2 and one touching by a corner only."""
    grid = grid_of((34, 36, 38), MM, axes=(1, 0, 2), flips=(-1, 1, -1))
    mask = np.zeros(grid.shape, np.uint8)
    mask[15:18, 15:18, 15:18] = 1
    mask[18, 18, 18] = 1  # joins the cube by a corner
    mask[22, 14, 20:23] = 1
    mask[12, 20, 20:22] = 2
    flair = write_scan(tmp_path / "flair.nii.gz", head(grid, (4.0, -6.0, 9.0)), grid.affine)
    path = write_scan(tmp_path / "mask.nii.gz", mask, grid.affine)
    return lambda label: (task_study({"flair": flair}, MaskFile(path, label)), mask, grid)


@pytest.mark.parametrize(("label", "sizes"), [(None, [2, 3, 28]), (1, [3, 28]), (2, [2]), (9, [])])
def test_lesion_voxels_are_the_components_of_the_mask(lesion_study, label, sizes):
    study, drawn, _ = lesion_study(label)
    prepared = prepare(study, MM)
    assert prepared.mask is not None
    starts, voxels = prepared.lesion_starts, prepared.lesion_voxels
    assert sorted(np.diff(starts)) == sizes
    assert starts[0] == 0
    assert starts[-1] == len(voxels) == (drawn != 0 if label is None else drawn == label).sum()
    labels, count = ndimage.label(prepared.mask, np.ones((3, 3, 3)))
    assert count == len(sizes)
    found = [set(map(tuple, voxels[a:b].tolist())) for a, b in pairwise(starts)]
    expected = [set(map(tuple, np.argwhere(labels == number).tolist())) for number in range(1, count + 1)]
    assert sorted(map(sorted, found)) == sorted(map(sorted, expected))
    assert (voxels.dtype, starts.dtype, prepared.mask.dtype) == (np.int16, np.int64, np.uint8)


def test_images_are_z_scored_in_the_brain_and_cropped_to_it(tmp_path, write_scan, task_study):
    grid = GRIDS["upright"]
    voxels = head(grid, (4.0, -6.0, 9.0)).astype(np.float32)
    prepared = prepare(task_study({"flair": write_scan(tmp_path / "a.nii", voxels, grid.affine)}), MM)
    inside = prepared.images[0] != 0
    assert inside.sum() == (voxels > 0).sum()
    assert prepared.images[0][inside].astype(float).mean() == pytest.approx(0, abs=2e-3)
    assert prepared.images[0][inside].astype(float).std() == pytest.approx(1, abs=2e-3)
    assert prepared.images.dtype == np.float16
    for axis in range(3):  # a margin of two voxels around the ball
        occupied = np.flatnonzero(inside.any(tuple(other for other in range(3) if other != axis)))
        assert (occupied[0], prepared.grid.shape[axis] - 1 - occupied[-1]) == (2, 2)
    values = voxels[voxels > 0]
    expected = (resample(voxels, grid, prepared.grid) - values.mean()) / values.std()
    np.testing.assert_allclose(prepared.images[0][inside], expected[inside], rtol=2e-3, atol=2e-3)


def test_an_image_without_contrast_is_told_with_study_contrast_and_file(tmp_path, write_scan, task_study):
    flair = write_scan(tmp_path / "flair.nii")
    empty = write_scan(tmp_path / "prior.nii", np.full((20, 20, 20), 3.0))
    with pytest.raises(ValueError, match="no contrast") as caught:
        prepare(task_study({"flair": flair, "prior.flair": empty}, subject="x7"), MM)
    assert str(caught.value) == f"sub-x7, prior.flair ({empty}): the image has no contrast inside the brain"


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
def test_a_skull_stripped_brain_is_what_differs_from_the_background(background, shift):
    assert is_inside(brain_mask(brain(background, shift)))
    assert is_inside(brain_mask(brain(background, shift).astype(np.float32)))

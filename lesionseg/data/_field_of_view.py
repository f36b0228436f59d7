"""Where two volumes lie in the world: how far apart their voxels are, whether they overlap."""

from itertools import product

import numpy as np

from lesionseg.data.grid import Array, Grid


def displacement(grid: Grid, other: Grid) -> float:
    """How far apart two grids of one shape put their voxels: the largest distance, in voxels of the first.

    The difference of two affine maps is affine, so that it is largest at a corner.
    """
    places = np.array(list(product(*((0, size - 1) for size in grid.shape))), dtype=np.float64)
    seen_from_first = _transform(np.linalg.inv(grid.affine) @ other.affine, places)
    return float(np.linalg.norm(seen_from_first - places, axis=1).max())


def overlap(grid: Grid, other: Grid) -> bool:
    """Whether two fields of view, out to the faces of their outermost voxels, have any volume in common.

    Two boxes are apart if and only if a plane along a face of one, or along an edge of each, parts them
    (Gottschalk et al. 1996, OBBTree, doi 10.1145/237170.237244).
    """
    first, second = _outer_corners(grid), _outer_corners(other)
    return all(
        np.max(first @ axis) > np.min(second @ axis) and np.max(second @ axis) > np.min(first @ axis)
        for axis in _parting_axes(grid.affine[:3, :3], other.affine[:3, :3])
    )


def _outer_corners(grid: Grid) -> Array:
    """The eight corners of a field of view in mm, shape (8, 3)."""
    corners = np.array(list(product(*((-0.5, size - 0.5) for size in grid.shape))), dtype=np.float64)
    return _transform(grid.affine, corners)


def _transform(affine: Array, points: Array) -> Array:
    """Points of shape (N, 3) through an affine of shape (4, 4)."""
    return np.asarray(points @ affine[:3, :3].T + affine[:3, 3])


def _parting_axes(edges: Array, other: Array) -> list[Array]:
    """Normals of the faces of both boxes (columns are edges) and of planes along an edge of each."""
    pairs = [(box[:, a], box[:, b]) for box in (edges, other) for a, b in ((0, 1), (1, 2), (2, 0))]
    pairs += [(edges[:, a], other[:, b]) for a, b in product(range(3), range(3))]
    axes = []
    for first, second in pairs:
        normal = np.cross(first, second)
        if np.linalg.norm(normal) > 1e-9 * np.linalg.norm(first) * np.linalg.norm(second):
            axes.append(normal)  # parallel edges span no plane
    return axes

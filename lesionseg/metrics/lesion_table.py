"""One row per lesion: where it lies, how large it is, and whether the other side has it too."""

from dataclasses import dataclass
from math import nan
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lesionseg.metrics._checks import check_affine, check_masks, check_probability
from lesionseg.metrics.components import Connectivity, Labels
from lesionseg.metrics.geometry import affine_spacing, voxel_to_world
from lesionseg.metrics.matching import LesionMatch, match_lesions

Side = Literal["reference", "prediction"]
Verdict = Literal["detected", "missed", "true", "false"]


@dataclass(frozen=True)
class LesionRow:
    """One lesion.

    Attributes:
        side: the mask it belongs to.
        label: its number within that side, from 1.
        verdict: a reference lesion is detected or missed, a predicted one true or false.
        volume_mm3: its volume.
        centroid_voxel: mean of its voxel indices (i, j, k), from 0, not rounded.
        centroid_mm: the same point in world coordinates (x, y, z), mm, as the affine has them (NIfTI: RAS+).
        extent_voxels: edge lengths of its bounding box along i, j, k, in voxels, at least 1.
        mean_probability: mean of the probability map over its voxels, NaN without a map.
        max_probability: its maximum over its voxels, NaN without a map.
        touches: labels of the other side's lesions that share a voxel with it, ascending.
    """

    side: Side
    label: int
    verdict: Verdict
    volume_mm3: float
    centroid_voxel: tuple[float, float, float]
    centroid_mm: tuple[float, float, float]
    extent_voxels: tuple[int, int, int]
    mean_probability: float
    max_probability: float
    touches: tuple[int, ...]

    def as_row(self) -> dict[str, str | int | float]:
        """Flat columns for a table file; `touches` becomes labels with a space between."""
        return {
            "side": self.side,
            "label": self.label,
            "verdict": self.verdict,
            "volume_mm3": self.volume_mm3,
            **dict(zip(("i", "j", "k"), self.centroid_voxel, strict=True)),
            **dict(zip(("x_mm", "y_mm", "z_mm"), self.centroid_mm, strict=True)),
            **dict(zip(("extent_i", "extent_j", "extent_k"), self.extent_voxels, strict=True)),
            "mean_probability": self.mean_probability,
            "max_probability": self.max_probability,
            "touches": " ".join(map(str, self.touches)),
        }


def lesion_table(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    affine: NDArray[Any],
    *,
    probability: NDArray[Any] | None = None,
    connectivity: Connectivity = 26,
    min_volume_mm3: float = 0.0,
) -> list[LesionRow]:
    """List the lesions of both masks, reference first, each side by label.

    Args:
        reference: mask of 0 and 1, shape (I, J, K); all zeros where there is none.
        prediction: mask of 0 and 1, the same shape.
        affine: voxel indices to world mm, shape (4, 4).
        probability: 0 … 1, the same shape.
        connectivity: which neighbouring voxels make one lesion.
        min_volume_mm3: lesions strictly smaller are background on both sides before matching.

    Raises:
        ValueError: if an array has the wrong shape or values, or an option is impossible.
    """
    check_masks(reference, prediction)
    check_affine(affine)
    if probability is not None:
        check_probability(probability, reference.shape)
    match = match_lesions(
        reference,
        prediction,
        affine_spacing(affine),
        connectivity=connectivity,
        min_volume_mm3=min_volume_mm3,
    )
    return tabulate_match(match, affine, probability)


def tabulate_match(
    match: LesionMatch, affine: NDArray[Any], probability: NDArray[Any] | None = None
) -> list[LesionRow]:
    """The rows of lesions that are matched already."""
    detected = [_REFERENCE_VERDICT[bool(hit)] for hit in match.reference_detected]
    true = [_PREDICTION_VERDICT[bool(hit)] for hit in match.prediction_true]
    touched_by = _partners(match.touching, match.reference_volumes.size)
    touches = _partners(match.touching[:, ::-1], match.prediction_volumes.size)
    return [
        *_rows("reference", match.reference, match.reference_volumes, detected, touched_by, affine, probability),
        *_rows("prediction", match.prediction, match.prediction_volumes, true, touches, affine, probability),
    ]


_REFERENCE_VERDICT: dict[bool, Verdict] = {True: "detected", False: "missed"}
_PREDICTION_VERDICT: dict[bool, Verdict] = {True: "true", False: "false"}


@dataclass(frozen=True, eq=False)
class _Shapes:
    """Per lesion, N of them: centroid (N, 3), extent (N, 3), mean and maximum probability (N,)."""

    centroid: NDArray[np.float64]
    extent: NDArray[np.int64]
    mean: NDArray[np.float64]
    maximum: NDArray[np.float64]


def _rows(
    side: Side,
    labels: Labels,
    volumes: NDArray[np.float64],
    verdicts: list[Verdict],
    partners: list[tuple[int, ...]],
    affine: NDArray[Any],
    probability: NDArray[Any] | None,
) -> list[LesionRow]:
    shapes = _measure(labels, volumes.size, probability)
    world = voxel_to_world(shapes.centroid, affine)
    return [
        LesionRow(
            side=side,
            label=index + 1,
            verdict=verdicts[index],
            volume_mm3=float(volumes[index]),
            centroid_voxel=_triple(shapes.centroid[index]),
            centroid_mm=_triple(world[index]),
            extent_voxels=_whole_triple(shapes.extent[index]),
            mean_probability=float(shapes.mean[index]),
            max_probability=float(shapes.maximum[index]),
            touches=partners[index],
        )
        for index in range(volumes.size)
    ]


def _measure(labels: Labels, count: int, probability: NDArray[Any] | None) -> _Shapes:
    voxels = np.nonzero(labels)
    # Sorted by lesion, every lesion is one run of voxels: each quantity is then one reduceat.
    order = np.argsort(labels[voxels], kind="stable")
    coordinates = np.stack(voxels, axis=1)[order]
    sizes = np.bincount(labels[voxels], minlength=count + 1)[1:]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.intp) if count else np.empty(0, np.intp)
    mean, maximum = np.full(count, nan), np.full(count, nan)
    if count == 0:
        return _Shapes(np.empty((0, 3)), np.empty((0, 3), np.int64), mean, maximum)
    low, high = np.minimum.reduceat(coordinates, starts), np.maximum.reduceat(coordinates, starts)
    if probability is not None:
        values = probability[voxels][order].astype(np.float64)
        mean, maximum = np.add.reduceat(values, starts) / sizes, np.maximum.reduceat(values, starts)
    centroid = np.add.reduceat(coordinates, starts) / sizes[:, None]
    return _Shapes(centroid, (high - low + 1).astype(np.int64), mean, maximum)


def _partners(pairs: NDArray[np.int64], count: int) -> list[tuple[int, ...]]:
    """For each lesion of the first column, its partners in the second, ascending."""
    partners: list[list[int]] = [[] for _ in range(count)]
    for lesion, partner in pairs.tolist():
        partners[lesion - 1].append(partner)
    return [tuple(sorted(found)) for found in partners]


def _triple(values: NDArray[Any]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _whole_triple(values: NDArray[Any]) -> tuple[int, int, int]:
    return int(values[0]), int(values[1]), int(values[2])

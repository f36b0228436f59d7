"""A row for each lesion of both masks: its verdict, size, place and Dice."""

from dataclasses import asdict, dataclass
from math import nan
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lesionseg.metrics.cc_metrics import cell_dice
from lesionseg.metrics.components import (
    Labels,
    affine_spacing,
    check_affine,
    check_masks,
    check_probability,
    voxel_to_world,
)
from lesionseg.metrics.criteria import AnyOverlap, Counts, Criterion, Flags, MaskPair, Side
from lesionseg.metrics.lesionwise import JudgedLesions, judge_lesions

Verdict = Literal["detected", "missed", "true", "false"]

Ratios = NDArray[np.float64]


@dataclass(frozen=True)
class LesionRow:
    """One lesion, a row of ``lesions.csv``.

    Attributes:
        side: the mask it belongs to.
        label: its number within that side, from 1.
        verdict: a reference lesion is detected or missed, a predicted one true or false, under the criterion.
        volume_mm3: its volume.
        i, j, k: its centroid: mean of its voxel indices, from 0, not rounded.
        x_mm, y_mm, z_mm: the same point in world coordinates, mm, as the affine has them (NIfTI: RAS+).
        extent_i, extent_j, extent_k: edge lengths of its bounding box in voxels, at least 1.
        mean_probability: mean of the probability map over its voxels, NaN without a map.
        max_probability: its maximum over its voxels, NaN without a map.
        dice: of a reference lesion the Dice within its cell (`lesion_dice`), 0 … 1; NaN for a predicted one.
        touches: labels of the other side's lesions that share a voxel with it, ascending.
    """

    side: Side
    label: int
    verdict: Verdict
    volume_mm3: float
    i: float
    j: float
    k: float
    x_mm: float
    y_mm: float
    z_mm: float
    extent_i: int
    extent_j: int
    extent_k: int
    mean_probability: float
    max_probability: float
    dice: float
    touches: tuple[int, ...]

    def as_row(self) -> dict[str, str | int | float]:
        """Return the columns of a table file; `touches` becomes labels with a space between."""
        return {**asdict(self), "touches": " ".join(map(str, self.touches))}


def lesion_table(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    affine: NDArray[Any],
    criterion: Criterion | None = None,
    *,
    probability: NDArray[Any] | None = None,
    min_volume_mm3: float = 0.0,
) -> list[LesionRow]:
    """List the lesions of both masks, reference first, each side by label.

    Args:
        reference: mask of 0 and 1, shape (I, J, K); all zeros where there is none.
        prediction: mask of 0 and 1, the same shape.
        affine: voxel indices to world mm, shape (4, 4).
        criterion: what decides the verdicts and which voxels are one lesion; `AnyOverlap()` if none is given.
        probability: 0 … 1, the same shape.
        min_volume_mm3: lesions strictly smaller are background on both sides, where the criterion does not say so
            itself.

    Raises:
        ValueError: if an array has the wrong shape or values, or an option is impossible.
    """
    check_masks(reference, prediction)
    check_affine(affine)
    if probability is not None:
        check_probability(probability, reference.shape)
    pair = MaskPair.of(reference, prediction, affine_spacing(affine))
    return tabulate_lesions(pair, judge_lesions(pair, criterion or AnyOverlap(), min_volume_mm3), affine, probability)


def tabulate_lesions(
    pair: MaskPair, judged: JudgedLesions, affine: NDArray[Any], probability: NDArray[Any] | None = None
) -> list[LesionRow]:
    """List lesions that are judged already.

    Args:
        pair: the two masks.
        judged: what a criterion says of their lesions.
        affine: voxel indices of the whole volume to world mm, shape (4, 4).
        probability: of the whole volume, 0 … 1, or None.
    """
    overlaps, verdicts = judged.overlaps, judged.verdicts
    reference, n_reference, prediction, n_prediction = judged.labels(pair)
    own_dice = cell_dice(reference, n_reference, prediction > 0, pair.spacing)
    corner = np.array([side.start for side in pair.box])
    inside = None if probability is None else probability[pair.box]

    def rows(side: Side, labels: Labels, sizes: Counts, hits: Flags, touches: Counts, dice: Ratios) -> list[LesionRow]:
        centroid, extent, mean, maximum = measure_shapes(labels, sizes.size, inside)
        centroid += corner
        places = np.hstack([centroid, voxel_to_world(centroid, affine)]).tolist()
        measured = np.stack([mean, maximum, dice], axis=1).tolist()
        partners: list[list[int]] = [[] for _ in range(sizes.size)]
        for lesion, partner in touches.tolist():
            partners[lesion].append(partner + 1)
        yes, no = _VERDICTS[side]
        return [
            LesionRow(  # type: ignore[call-arg]
                side,
                index + 1,
                yes if hits[index] else no,
                float(sizes[index] * overlaps.voxel_volume),
                *places[index],
                *extent[index].tolist(),
                *measured[index],
                tuple(sorted(partners[index])),
            )
            for index in range(sizes.size)
        ]

    undefined = np.full(n_prediction, nan)
    sizes, true, turned = overlaps.prediction_sizes, verdicts.prediction_true, overlaps.pairs[:, ::-1]
    return [
        *rows("reference", reference, overlaps.reference_sizes, verdicts.reference_detected, overlaps.pairs, own_dice),
        *rows("prediction", prediction, sizes, true, turned, undefined),
    ]


_VERDICTS: dict[Side, tuple[Verdict, Verdict]] = {
    "reference": ("detected", "missed"),
    "prediction": ("true", "false"),
}


def measure_shapes(
    labels: Labels, count: int, values: NDArray[Any] | None
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Measure all lesions at once.

    Args:
        labels: shape (X, Y, Z), 0 is background, each of 1 … count is there.
        count: how many lesions there are, N.
        values: a map of the same shape; without one, mean and maximum are NaN.

    Returns:
        Centroid (N, 3) and extent (N, 3) in voxels, mean (N,) and maximum (N,) of the map.
    """
    mean, maximum = np.full(count, nan), np.full(count, nan)
    if count == 0:
        return np.empty((0, 3)), np.empty((0, 3), np.int64), mean, maximum
    voxels = np.nonzero(labels)
    numbers = labels[voxels]
    # Sorted by lesion, every lesion is one run of voxels: each quantity is then one reduceat.
    order = np.argsort(numbers, kind="stable")
    coordinates = np.stack(voxels, axis=1)[order]
    sizes = np.bincount(numbers, minlength=count + 1)[1:]
    starts = (np.cumsum(sizes) - sizes).astype(np.intp)
    low, high = np.minimum.reduceat(coordinates, starts), np.maximum.reduceat(coordinates, starts)
    if values is not None:
        inside = values[voxels][order].astype(np.float64)
        mean, maximum = np.add.reduceat(inside, starts) / sizes, np.maximum.reduceat(inside, starts)
    centroid = np.add.reduceat(coordinates, starts) / sizes[:, None]
    return centroid, (high - low + 1).astype(np.int64), mean, maximum

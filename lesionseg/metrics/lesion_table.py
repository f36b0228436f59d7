"""One row per lesion: where it lies, how large it is, and whether the other side has it too."""

from dataclasses import dataclass
from math import nan
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lesionseg.metrics._checks import check_affine, check_masks, check_probability
from lesionseg.metrics._shapes import measure_shapes
from lesionseg.metrics.cells import cell_dice
from lesionseg.metrics.components import Labels
from lesionseg.metrics.criteria import AnyOverlap, Criterion, Side
from lesionseg.metrics.geometry import affine_spacing, voxel_to_world
from lesionseg.metrics.lesionwise import JudgedLesions, judge_lesions
from lesionseg.metrics.overlaps import Counts, Flags, MaskPair

Verdict = Literal["detected", "missed", "true", "false"]
Ratios = NDArray[np.float64]


@dataclass(frozen=True)
class LesionRow:
    """One lesion.

    Attributes:
        side: the mask it belongs to.
        label: its number within that side, from 1.
        verdict: a reference lesion is detected or missed, a predicted one true or false, under the criterion.
        volume_mm3: its volume.
        centroid_voxel: mean of its voxel indices (i, j, k), from 0, not rounded.
        centroid_mm: the same point in world coordinates (x, y, z), mm, as the affine has them (NIfTI: RAS+).
        extent_voxels: edge lengths of its bounding box along i, j, k, in voxels, at least 1.
        mean_probability: mean of the probability map over its voxels, NaN without a map.
        max_probability: its maximum over its voxels, NaN without a map.
        dice: of a reference lesion the Dice within its cell (`lesion_dice`), 0 … 1; NaN for a predicted one.
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
    dice: float
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
            "dice": self.dice,
            "touches": " ".join(map(str, self.touches)),
        }


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
    """The rows of lesions that are judged already.

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
        """The rows of one side."""
        shapes = measure_shapes(labels, sizes.size, inside)
        centroid = shapes.centroid + corner
        world = voxel_to_world(centroid, affine)
        partners = _partners(touches, sizes.size)
        return [
            LesionRow(
                side=side,
                label=index + 1,
                verdict=_VERDICTS[side, bool(hits[index])],
                volume_mm3=float(sizes[index] * overlaps.voxel_volume),
                centroid_voxel=_triple(centroid[index]),
                centroid_mm=_triple(world[index]),
                extent_voxels=_whole_triple(shapes.extent[index]),
                mean_probability=float(shapes.mean[index]),
                max_probability=float(shapes.maximum[index]),
                dice=float(dice[index]),
                touches=partners[index],
            )
            for index in range(sizes.size)
        ]

    return [
        *rows("reference", reference, overlaps.reference_sizes, verdicts.reference_detected, overlaps.pairs, own_dice),
        *rows(
            "prediction",
            prediction,
            overlaps.prediction_sizes,
            verdicts.prediction_true,
            overlaps.pairs[:, ::-1],
            np.full(n_prediction, nan),
        ),
    ]


_VERDICTS: dict[tuple[Side, bool], Verdict] = {
    ("reference", True): "detected",
    ("reference", False): "missed",
    ("prediction", True): "true",
    ("prediction", False): "false",
}


def _partners(pairs: Counts, count: int) -> list[tuple[int, ...]]:
    """For each lesion of the first column, the labels of its partners in the second, ascending."""
    partners: list[list[int]] = [[] for _ in range(count)]
    for lesion, partner in pairs.tolist():
        partners[lesion].append(partner + 1)
    return [tuple(sorted(found)) for found in partners]


def _triple(values: NDArray[Any]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _whole_triple(values: NDArray[Any]) -> tuple[int, int, int]:
    return int(values[0]), int(values[1]), int(values[2])

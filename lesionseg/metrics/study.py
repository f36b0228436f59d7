"""Everything that is measured on one test study."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import nan
from statistics import fmean
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lesionseg.metrics.components import (
    Labels,
    affine_spacing,
    check_affine,
    check_masks,
    check_probability,
    voxel_to_world,
)
from lesionseg.metrics.criteria import AnyOverlap, Counts, Criterion, Flags, MaskPair, OneToOneIoU, Side
from lesionseg.metrics.lesionwise import JudgedLesions, LesionScores, Stratum, judge_lesions, score_criteria, stratify
from lesionseg.metrics.voxelwise import cell_dice, dice, score_surfaces, score_voxels

Verdict = Literal["detected", "missed", "true", "false"]
Ratios = NDArray[np.float64]
_VERDICTS: dict[Side, tuple[Verdict, Verdict]] = {
    "reference": ("detected", "missed"),
    "prediction": ("true", "false"),
}


@dataclass(frozen=True)
class CaseScores:
    """One row of `cases.csv`; what is undefined is NaN, by the policy of `LesionScores`.

    Counts, lesionwise scores and the two `cc_dice` rest on lesions of at least the smallest volume that counts. The
    other scores judge the masks as they are, small lesions included.
    """

    n_reference: int  # reference lesions
    n_prediction: int
    detected_reference: int  # that the criterion calls detected
    true_prediction: int  # that it calls true
    lesion_sensitivity: float  # 0 … 1 or NaN, as the next three; see `LesionScores`
    lesion_ppv: float
    lesion_f1: float
    lesion_f1_counts: float
    dice: float  # 0 … 1 or NaN, as the next two; see `VoxelScores`
    voxel_sensitivity: float
    voxel_ppv: float
    cc_dice: float  # mean `lesion_dice`, regions measured in voxels, as CC-Metrics' program does; NaN without lesion
    cc_dice_mm: float  # the same in mm, which differs where voxels are no cubes; its parts are `LesionRow.dice`
    hd95_mm: float  # see `SurfaceScores`
    assd_mm: float
    nsd: float
    volume_reference_ml: float
    volume_prediction_ml: float
    volume_difference_ml: float  # prediction minus reference
    false_positives: int  # predicted lesions that are not true
    false_positive_volume_ml: float
    merged_lesions: int  # reference lesions that share a predicted lesion with another one

    def as_row(self) -> dict[str, int | float]:
        """Return the columns by name, in order."""
        return asdict(self)


@dataclass(frozen=True)
class LesionRow:
    """One lesion, a row of ``lesions.csv``."""

    side: Side  # the mask it belongs to
    label: int  # its number within that side, from 1
    verdict: Verdict  # a reference lesion is detected or missed, a predicted one true or false, under the criterion
    volume_mm3: float
    i: float  # its centroid: mean of its voxel indices, from 0
    j: float
    k: float
    x_mm: float  # the same point in world coordinates, as the affine has them (NIfTI: RAS+)
    y_mm: float
    z_mm: float
    extent_i: int  # edge lengths of its bounding box in voxels, at least 1
    extent_j: int
    extent_k: int
    mean_probability: float  # of the probability map over its voxels, NaN without a map
    max_probability: float
    dice: float  # of a reference lesion the Dice within its region (`lesion_dice`), 0 … 1; NaN for a predicted one
    touches: tuple[int, ...]  # labels of the other side's lesions that share a voxel with it, ascending

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
    """List the lesions of both masks, reference first, each side by label; arguments are those of `score_study`."""
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


@dataclass(frozen=True)
class StudyScores:
    """One study."""

    case: CaseScores  # its row of scores, under the first criterion
    lesions: tuple[LesionRow, ...]  # a row per lesion (reference first), under the first criterion
    strata: tuple[Stratum, ...]  # sensitivity and PPV by lesion volume, under the first criterion
    criteria: dict[str, LesionScores] = field(default_factory=dict)  # lesionwise scores under each criterion, by name


def detection_row(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    spacing: tuple[float, float, float],
    criterion: Criterion | None = None,
    *,
    min_volume_mm3: float = 0.0,
) -> dict[str, int | float]:
    """The columns of `CaseScores` that count lesions, Dice, and the F1 of lesions matched one to one from an IoU of
    0.1 on (`lesion_f1_one_to_one`), which a prediction that fills the volume does not satisfy.

    For a quick look, such as a validation during training. Arguments and errors are those of `score_lesions`.
    """
    rules = {"own": criterion or AnyOverlap(), "one to one": OneToOneIoU(min_iou=0.1)}
    scores = score_criteria(reference, prediction, spacing, rules, min_volume_mm3=min_volume_mm3)
    one_to_one = {"lesion_f1_one_to_one": scores["one to one"].f1}
    return {**lesion_columns(scores["own"]), "dice": dice(reference, prediction), **one_to_one}


def lesion_columns(scores: LesionScores) -> dict[str, int | float]:
    """Return the columns of a row of cases that count lesions."""
    counts = (
        "n_reference",
        "n_prediction",
        "detected_reference",
        "true_prediction",
        "false_positives",
        "merged_lesions",
    )
    ratios = {f"lesion_{name}": getattr(scores, name) for name in ("sensitivity", "ppv", "f1", "f1_counts")}
    return ratios | {name: getattr(scores, name) for name in (*counts, "false_positive_volume_ml")}


def score_study(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    affine: NDArray[Any],
    criterion: Criterion | None = None,
    *,
    probability: NDArray[Any] | None = None,
    min_volume_mm3: float = 0.0,
    criteria: Mapping[str, Criterion] | None = None,
    volume_edges_mm3: Sequence[float] = (),
    tolerance_mm: float = 1.0,
) -> StudyScores:
    """Score one study; each mask is cut once, and labelled once for each connectivity that a criterion asks for.

    Args:
        reference: mask of 0 and 1, shape (I, J, K).
        prediction: mask of 0 and 1, the same shape.
        affine: voxel indices to world mm, shape (4, 4); the spacing is the norms of its columns.
        criterion: the first criterion, which the lesion table and the strata rest on; `AnyOverlap()` if none is given.
        probability: 0 … 1, the same shape; fills the lesions' probabilities.
        min_volume_mm3: lesions strictly smaller are background on both sides, under the criteria that have no
            minimum of their own.
        criteria: further criteria by name.
        volume_edges_mm3: edges between the bins of the strata, as for `stratify`.
        tolerance_mm: of the normalised surface Dice.

    Raises:
        ValueError: if the masks are not binary, 3D and of one shape, the affine is not 4 × 4, finite and
            invertible, the probability is not finite within 0 … 1, or an option is impossible.
    """
    check_masks(reference, prediction)
    check_affine(affine)
    if probability is not None:
        check_probability(probability, reference.shape)
    pair = MaskPair.of(reference, prediction, affine_spacing(affine))
    judged = judge_lesions(pair, criterion or AnyOverlap(), min_volume_mm3)
    lesions = tuple(tabulate_lesions(pair, judged, affine, probability))
    voxel = judged.overlaps.voxel_volume
    strata = stratify(
        judged.overlaps.reference_sizes * voxel,
        judged.verdicts.reference_detected,
        judged.overlaps.prediction_sizes * voxel,
        judged.verdicts.prediction_true,
        volume_edges_mm3,
    )
    others = {name: judge_lesions(pair, other, min_volume_mm3).scores() for name, other in (criteria or {}).items()}
    voxels = score_voxels(*pair.masks, pair.spacing)
    surfaces = score_surfaces(*pair.masks, pair.spacing, tolerance_mm=tolerance_mm)
    in_mm = [row.dice for row in lesions if row.side == "reference"]
    case = CaseScores(
        **lesion_columns(judged.scores()),  # type: ignore[arg-type]
        dice=voxels.dice,
        voxel_sensitivity=voxels.sensitivity,
        voxel_ppv=voxels.ppv,
        cc_dice=_cc_dice_in_voxels(pair, judged, in_mm),
        cc_dice_mm=fmean(in_mm) if in_mm else nan,
        hd95_mm=surfaces.hd95_mm,
        assd_mm=surfaces.assd_mm,
        nsd=surfaces.nsd,
        volume_reference_ml=voxels.volume_reference_ml,
        volume_prediction_ml=voxels.volume_prediction_ml,
        volume_difference_ml=voxels.volume_difference_ml,
    )
    return StudyScores(case, lesions, strata, others)


def _cc_dice_in_voxels(pair: MaskPair, judged: JudgedLesions, in_mm: Sequence[float]) -> float:
    if not in_mm:
        return nan
    if np.allclose(pair.spacing, pair.spacing[0], rtol=1e-6):  # cubes: the same cells
        return fmean(in_mm)
    reference, n_reference, prediction, _ = judged.labels(pair)
    return float(cell_dice(reference, n_reference, prediction > 0, (1.0, 1.0, 1.0)).mean())

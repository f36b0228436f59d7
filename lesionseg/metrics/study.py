"""Everything that is measured on one test study."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import nan
from statistics import fmean
from typing import Any, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

from lesionseg.metrics.cc_metrics import region_dice
from lesionseg.metrics.components import (
    Labels,
    Spacing,
    affine_spacing,
    check_affine,
    check_masks,
    check_probability,
)
from lesionseg.metrics.criteria import AnyOverlap, Criterion, MaskPair, Side
from lesionseg.metrics.lesionwise import JudgedLesions, LesionScores, Stratum, judge_lesions, score_lesions, stratify
from lesionseg.metrics.voxelwise import dice, score_surfaces, score_voxels

Verdict = Literal["detected", "missed", "true", "false"]


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


@dataclass(frozen=True)
class StudyScores:
    """One study: everything but `criteria` under the first criterion."""

    case: CaseScores  # its row of scores
    lesions: tuple[LesionRow, ...]  # a row per lesion, reference first
    strata: tuple[Stratum, ...]  # sensitivity and PPV by lesion volume
    criteria: dict[str, LesionScores] = field(default_factory=dict)  # lesionwise scores under each criterion, by name


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
    _check(reference, prediction, affine, probability)
    pair = MaskPair.of(reference, prediction, affine_spacing(affine))
    return _tabulate(pair, judge_lesions(pair, criterion or AnyOverlap(), min_volume_mm3), affine, probability)


def detection_row(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    spacing: Spacing,
    criterion: Criterion | None = None,
    *,
    min_volume_mm3: float = 0.0,
) -> dict[str, int | float]:
    """Return the columns of `CaseScores` that count lesions, and Dice: all that `average` asks for, without surfaces.

    For a quick look, such as a validation during training. Arguments and errors are those of `score_lesions`.
    """
    scores = score_lesions(reference, prediction, spacing, criterion, min_volume_mm3=min_volume_mm3)
    return {**lesion_columns(scores), "dice": dice(reference, prediction)}


def lesion_columns(scores: LesionScores) -> dict[str, int | float]:
    """Return the columns of a row of cases that count lesions."""
    counts = ("n_reference", "n_prediction", "detected_reference", "true_prediction", "false_positives")
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
    _check(reference, prediction, affine, probability)
    pair = MaskPair.of(reference, prediction, affine_spacing(affine))
    judged = judge_lesions(pair, criterion or AnyOverlap(), min_volume_mm3)
    lesions = tuple(_tabulate(pair, judged, affine, probability))
    overlaps, verdicts = judged.overlaps, judged.verdicts
    volumes = (sizes * overlaps.voxel_volume for sizes in (overlaps.reference_sizes, overlaps.prediction_sizes))
    reference_volumes, prediction_volumes = volumes
    hits = (verdicts.reference_detected, verdicts.prediction_true)
    voxels = score_voxels(pair.reference, pair.prediction, pair.spacing)
    surfaces = score_surfaces(pair.reference, pair.prediction, pair.spacing, tolerance_mm=tolerance_mm)
    in_mm = in_voxels = [row.dice for row in lesions if row.side == "reference"]
    if not np.allclose(pair.spacing, pair.spacing[0], rtol=1e-6):  # cubes have the same regions in voxels
        labels, count, predicted, _ = judged.labels(pair)
        in_voxels = region_dice(labels, count, predicted, (1.0, 1.0, 1.0)).tolist()
    case = CaseScores(
        **lesion_columns(judged.scores()),  # type: ignore[arg-type]
        dice=voxels.dice,
        voxel_sensitivity=voxels.sensitivity,
        voxel_ppv=voxels.ppv,
        cc_dice=fmean(in_voxels) if in_voxels else nan,
        cc_dice_mm=fmean(in_mm) if in_mm else nan,
        hd95_mm=surfaces.hd95_mm,
        assd_mm=surfaces.assd_mm,
        nsd=surfaces.nsd,
        volume_reference_ml=voxels.volume_reference_ml,
        volume_prediction_ml=voxels.volume_prediction_ml,
        volume_difference_ml=voxels.volume_difference_ml,
    )
    return StudyScores(
        case,
        lesions,
        stratify(reference_volumes, hits[0], prediction_volumes, hits[1], volume_edges_mm3),
        {name: judge_lesions(pair, other, min_volume_mm3).scores() for name, other in (criteria or {}).items()},
    )


def _check(
    reference: NDArray[Any], prediction: NDArray[Any], affine: NDArray[Any], probability: NDArray[Any] | None
) -> None:
    check_masks(reference, prediction)
    check_affine(affine)
    if probability is not None:
        check_probability(probability, reference.shape)


def _tabulate(
    pair: MaskPair, judged: JudgedLesions, affine: NDArray[Any], probability: NDArray[Any] | None
) -> list[LesionRow]:
    """List lesions that are judged already; affine and probability are those of the whole volume."""
    corner, matrix = [side.start for side in pair.box], np.asarray(affine, dtype=np.float64)
    inside = None if probability is None else probability[pair.box]

    def rows(
        side: Side, labels: Labels, pairs: Any, hits: Any, words: tuple[Verdict, Verdict], dice: Any
    ) -> list[LesionRow]:
        if not hits.size:
            return []
        numbers = range(1, hits.size + 1)
        found = cc3d.statistics(labels.view(np.uint32), no_slice_conversion=True)
        boxes = found["bounding_boxes"][1:].astype(np.int64)
        centroids = found["centroids"][1:] + corner
        mean = maximum = np.full(hits.size, nan)
        if inside is not None:
            lesion = labels > 0
            values, owners = inside[lesion].astype(np.float64), labels[lesion]
            mean = np.bincount(owners - 1, values) / found["voxel_counts"][1:]
            maximum = np.zeros(hits.size)
            np.maximum.at(maximum, owners - 1, values)
        columns = (
            [words[int(not hit)] for hit in hits],
            (found["voxel_counts"][1:] * judged.overlaps.voxel_volume).tolist(),
            *centroids.T.tolist(),
            *(centroids @ matrix[:3, :3].T + matrix[:3, 3]).T.tolist(),
            *(boxes[:, 1::2] - boxes[:, ::2] + 1).T.tolist(),
            *(np.asarray(column).tolist() for column in (mean, maximum, dice)),
            [tuple(sorted((pairs[pairs[:, 0] == number - 1, 1] + 1).tolist())) for number in numbers],
        )
        return [LesionRow(side, number, *row) for number, row in zip(numbers, zip(*columns, strict=True), strict=True)]

    verdicts, pairs = judged.verdicts, judged.overlaps.pairs
    reference, n_reference, prediction, n_prediction = judged.labels(pair)
    own = region_dice(reference, n_reference, prediction, pair.spacing)
    undefined = np.full(n_prediction, nan)
    return [
        *rows("reference", reference, pairs, verdicts.reference_detected, ("detected", "missed"), own),
        *rows("prediction", prediction, pairs[:, ::-1], verdicts.prediction_true, ("true", "false"), undefined),
    ]

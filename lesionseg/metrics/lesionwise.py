"""Sensitivity, PPV and F1 counted in lesions, under one criterion or several at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionseg.metrics.cc_metrics import cell_dice
from lesionseg.metrics.components import (
    Labels,
    SparseMask,
    affine_spacing,
    check_affine,
    check_masks,
    check_probability,
    keep_labels,
    voxel_to_world,
)
from lesionseg.metrics.criteria import AnyOverlap, Counts, Criterion, Flags, MaskPair, Overlaps, Side, Verdicts


@dataclass(frozen=True)
class LesionScores:
    """Lesionwise scores of one study. All ratios lie in 0 … 1 or are NaN where there is nothing to measure.

    | reference lesions | predicted lesions | sensitivity | PPV | F1 (both) |
    |---|---|---|---|---|
    | none | none | NaN | NaN | NaN |
    | none | some | NaN | 0 | NaN |
    | some | none | 0 | 0 | 0 |

    A study without reference lesion is reported apart in averages (`average`), its PPV of 0 with it. The WMH
    challenge says 1 for the sensitivity of such a study and ISLES 1 for the F1 of two empty masks; we do not.

    Attributes:
        n_reference: reference lesions.
        n_prediction: predicted lesions.
        detected_reference: reference lesions that the criterion calls detected.
        true_prediction: predicted lesions that it calls true.
        sensitivity: detected_reference / n_reference.
        ppv: true_prediction / n_prediction.
        f1: harmonic mean of sensitivity and PPV, 0 where both are 0 (WMH challenge,
            doi 10.1109/TMI.2019.2905770, and Anima).
        f1_counts: TP / (TP + (FP + FN) / 2) with FN counted over reference lesions, FP over predicted ones, and TP
            over reference lesions for any overlap (ISLES, doi 10.1038/s41597-022-01875-5) and Anima's rule, over
            predicted ones for the best IoU (Shifts, arXiv 2206.15407). It differs from `f1` where one lesion
            meets several.
        false_positives: predicted lesions that are not true.
        false_positive_volume_ml: their volume together, in ml.
        segmentation_quality: mean IoU of the pairs where lesions are matched one to one, 0 where no pair is found;
            NaN without reference lesion, and under the other criteria.
    """

    n_reference: int
    n_prediction: int
    detected_reference: int
    true_prediction: int
    sensitivity: float
    ppv: float
    f1: float
    f1_counts: float
    false_positives: int
    false_positive_volume_ml: float
    segmentation_quality: float = nan

    @property
    def recognition_quality(self) -> float:
        """F1 of lesions matched one to one (Kirillov et al. 2019); equal to `f1_counts`."""
        return self.f1_counts


@dataclass(frozen=True, eq=False)
class JudgedLesions:
    """The lesions that count under a criterion, and what it says of them.

    Attributes:
        criterion: the rule.
        overlaps: the table of those that count.
        verdicts: on each of them.
        reference_counts: for each reference lesion of the labelling, whether it counts.
        prediction_counts: likewise for each predicted one.
    """

    criterion: Criterion
    overlaps: Overlaps
    verdicts: Verdicts
    reference_counts: Flags
    prediction_counts: Flags

    def labels(self, pair: MaskPair) -> tuple[Labels, int, Labels, int]:
        """Labels of the reference lesions that count, in the box that holds both masks, and how many they are; then the
        same of the predicted ones."""
        reference, n_reference = self._kept(pair, pair.reference, self.reference_counts)
        prediction, n_prediction = self._kept(pair, pair.prediction, self.prediction_counts)
        return reference, n_reference, prediction, n_prediction

    def _kept(self, pair: MaskPair, mask: SparseMask, counts: Flags) -> tuple[Labels, int]:
        labels, _ = mask.labels(self.criterion.connectivity)
        kept, count = keep_labels(labels, counts)
        return mask.dense(pair.box, kept), count

    def scores(self) -> LesionScores:
        """Counts and ratios."""
        detected, true = self.verdicts.reference_detected, self.verdicts.prediction_true
        n_reference, n_prediction = detected.size, true.size
        found, right = int(detected.sum()), int(true.sum())
        missed, false = n_reference - found, n_prediction - right
        sensitivity = found / n_reference if n_reference else nan
        ppv = right / n_prediction if n_prediction else (0.0 if n_reference else nan)
        positives = found if self.criterion.true_positives == "reference" else right
        total = positives + (false + missed) / 2
        return LesionScores(
            n_reference=n_reference,
            n_prediction=n_prediction,
            detected_reference=found,
            true_prediction=right,
            sensitivity=sensitivity,
            ppv=ppv,
            f1=_harmonic_mean(sensitivity, ppv),
            f1_counts=positives / total if n_reference else nan,
            false_positives=false,
            false_positive_volume_ml=int(self.overlaps.prediction_sizes[~true].sum())
            * self.overlaps.voxel_volume
            / 1000,
            segmentation_quality=self._segmentation_quality(),
        )

    def _segmentation_quality(self) -> float:
        matched = self.verdicts.matched
        if matched is None or not self.verdicts.reference_detected.size:
            return nan
        return float(np.mean(self.overlaps.iou[matched])) if matched.size else 0.0


def judge_lesions(pair: MaskPair, criterion: Criterion, min_volume_mm3: float = 0.0) -> JudgedLesions:
    """Judge masks that are cut and labelled already.

    Args:
        pair: the two masks.
        criterion: the rule.
        min_volume_mm3: smallest lesion that counts, where the criterion does not say so itself.
    """
    smallest = min_volume_mm3 if criterion.min_volume_mm3 is None else criterion.min_volume_mm3
    overlaps, *counts = pair.overlaps(criterion.connectivity).kept(smallest, exclusive=criterion.exclusive)
    return JudgedLesions(criterion, overlaps, criterion.judge(overlaps), *counts)


def score_lesions(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    spacing: tuple[float, float, float],
    criterion: Criterion | None = None,
    *,
    min_volume_mm3: float = 0.0,
) -> LesionScores:
    """Score a prediction lesion by lesion under one criterion; arguments and errors are those of `score_criteria`.

    Args:
        reference: mask of 0 and 1, shape (I, J, K).
        prediction: mask of 0 and 1, the same shape.
        spacing: edge lengths of a voxel in mm.
        criterion: `AnyOverlap()`, 26-connected, if none is given.
        min_volume_mm3: smallest lesion that counts, in mm³, where the criterion does not say so itself.
    """
    criteria = {"": criterion or AnyOverlap()}
    return score_criteria(reference, prediction, spacing, criteria, min_volume_mm3=min_volume_mm3)[""]


def score_criteria(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    spacing: tuple[float, float, float],
    criteria: Mapping[str, Criterion],
    *,
    min_volume_mm3: float = 0.0,
) -> dict[str, LesionScores]:
    """Score a prediction lesion by lesion under several criteria; each mask is labelled once per connectivity.

    Args:
        reference: mask of 0 and 1, shape (I, J, K).
        prediction: mask of 0 and 1, the same shape.
        spacing: edge lengths of a voxel in mm.
        criteria: rules by name.
        min_volume_mm3: lesions strictly smaller are background on both sides before anything is judged, under the
            criteria that have no minimum of their own. A predicted lesion that touches only a dropped reference
            lesion is therefore false.

    Returns:
        Scores by name, in the order of `criteria`.

    Raises:
        ValueError: if the masks are not binary, 3D and of one shape, or an option is impossible.
    """
    check_masks(reference, prediction)
    pair = MaskPair.of(reference, prediction, spacing)
    return {name: judge_lesions(pair, criterion, min_volume_mm3).scores() for name, criterion in criteria.items()}


def _harmonic_mean(sensitivity: float, ppv: float) -> float:
    """NaN stays NaN; two zeros give 0."""
    total = sensitivity + ppv
    return 2 * sensitivity * ppv / total if total else 0.0


@dataclass(frozen=True, eq=False)
class LesionShapes:
    """Per lesion, N of them: centroid (N, 3) and extent (N, 3) in voxels, mean and maximum of the map (N,)."""

    centroid: NDArray[np.float64]
    extent: NDArray[np.int64]
    mean: NDArray[np.float64]
    maximum: NDArray[np.float64]


def measure_shapes(labels: Labels, count: int, values: NDArray[Any] | None) -> LesionShapes:
    """Measure all lesions at once.

    Args:
        labels: shape (X, Y, Z), 0 is background, each of 1 … count is there.
        count: how many lesions there are.
        values: a map of the same shape; without one, mean and maximum are NaN.
    """
    mean, maximum = np.full(count, nan), np.full(count, nan)
    if count == 0:
        return LesionShapes(np.empty((0, 3)), np.empty((0, 3), np.int64), mean, maximum)
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
    return LesionShapes(centroid, (high - low + 1).astype(np.int64), mean, maximum)


@dataclass(frozen=True)
class Stratum:
    """The lesions whose volume lies in one bin.

    A predicted lesion is binned by its own volume, not by that of the lesion it meets.

    Attributes:
        from_mm3: lower edge, belongs to the bin.
        to_mm3: upper edge, does not; infinite for the last bin.
        n_reference: reference lesions of that volume.
        detected_reference: of these, the detected ones.
        sensitivity: 0 … 1, NaN without such a reference lesion.
        n_prediction: predicted lesions of that volume.
        true_prediction: of these, the true ones.
        ppv: 0 … 1, NaN without such a predicted lesion.
    """

    from_mm3: float
    to_mm3: float
    n_reference: int
    detected_reference: int
    sensitivity: float
    n_prediction: int
    true_prediction: int
    ppv: float


def stratify(
    reference_volumes: ArrayLike,
    reference_detected: ArrayLike,
    prediction_volumes: ArrayLike,
    prediction_true: ArrayLike,
    edges_mm3: Sequence[float],
) -> tuple[Stratum, ...]:
    """Count lesions by volume, of one study or of several put together.

    Args:
        reference_volumes: mm³ of each reference lesion, shape (R,).
        reference_detected: whether each is detected, shape (R,).
        prediction_volumes: mm³ of each predicted lesion, shape (Q,).
        prediction_true: whether each is true, shape (Q,).
        edges_mm3: where one bin ends and the next begins, ascending, in mm³; the first bin begins at 0 and the last
            has no end.

    Raises:
        ValueError: if the edges are not positive, finite and ascending.
    """
    edges = [float(edge) for edge in edges_mm3]
    if not all(isfinite(edge) for edge in edges) or any(a >= b for a, b in zip([0.0, *edges], edges, strict=False)):
        raise ValueError(f"The edges between volume bins must be positive and ascending, found {edges}.")
    # As with the smallest lesion, a volume within a billionth of an edge counts as on it: 0.1 mm has no binary form.
    cuts = np.array(edges) * (1 - 1e-9)

    def counts(volumes: ArrayLike, hits: ArrayLike) -> tuple[list[int], list[int]]:
        bins = np.searchsorted(cuts, np.asarray(volumes, dtype=float), side="right")
        there = np.bincount(bins, minlength=len(edges) + 1)
        return there.tolist(), np.bincount(bins[np.asarray(hits, dtype=bool)], minlength=len(edges) + 1).tolist()

    n_reference, detected = counts(reference_volumes, reference_detected)
    n_prediction, true = counts(prediction_volumes, prediction_true)
    return tuple(
        Stratum(
            from_mm3=low,
            to_mm3=high,
            n_reference=n_reference[index],
            detected_reference=detected[index],
            sensitivity=detected[index] / n_reference[index] if n_reference[index] else nan,
            n_prediction=n_prediction[index],
            true_prediction=true[index],
            ppv=true[index] / n_prediction[index] if n_prediction[index] else nan,
        )
        for index, (low, high) in enumerate(zip([0.0, *edges], [*edges, inf], strict=True))
    )


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

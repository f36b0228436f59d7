"""Sensitivity, PPV and F1 counted in lesions, under one criterion or several at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionseg.metrics.components import (
    Labels,
    check_masks,
    keep_labels,
)
from lesionseg.metrics.criteria import AnyOverlap, Criterion, Flags, MaskPair, Overlaps, Verdicts


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
    """

    n_reference: int  # reference lesions
    n_prediction: int  # predicted lesions
    detected_reference: int  # reference lesions that the criterion calls detected
    true_prediction: int  # predicted lesions that it calls true
    sensitivity: float  # detected_reference / n_reference
    ppv: float  # true_prediction / n_prediction
    # harmonic mean of sensitivity and PPV, 0 where both are 0 (WMH challenge, doi 10.1109/TMI.2019.2905770, and Anima)
    f1: float
    # TP / (TP + (FP + FN) / 2) with FN counted over reference lesions, FP over predicted ones, and TP over reference
    # lesions for any overlap (ISLES, doi 10.1038/s41597-022-01875-5) and Anima's rule, over predicted ones for the
    # best IoU (Shifts, arXiv 2206.15407). It differs from `f1` where one lesion meets several
    f1_counts: float
    false_positives: int  # predicted lesions that are not true
    false_positive_volume_ml: float  # their volume together, in ml
    # mean IoU of the pairs where lesions are matched one to one, 0 where no pair is found; NaN without reference
    # lesion, and under the other criteria
    segmentation_quality: float = nan
    merged_lesions: int = 0  # reference lesions that share a predicted lesion with another one

    @property
    def recognition_quality(self) -> float:
        """F1 of lesions matched one to one (Kirillov et al. 2019); equal to `f1_counts`."""
        return self.f1_counts


@dataclass(frozen=True, eq=False)
class JudgedLesions:
    """The lesions that count under a criterion, and what it says of them."""

    criterion: Criterion  # the rule
    overlaps: Overlaps  # the table of those that count
    verdicts: Verdicts  # on each of them
    reference_counts: Flags  # for each reference lesion of the labelling, whether it counts
    prediction_counts: Flags  # likewise for each predicted one

    def labels(self, pair: MaskPair) -> tuple[Labels, int, Labels, int]:
        """Return the labels of the reference lesions that count, in the box that holds both masks, and how many they
        are; then the same of the predicted ones."""
        found: list[Any] = []
        for mask, counts in ((pair.reference, self.reference_counts), (pair.prediction, self.prediction_counts)):
            kept, count = keep_labels(mask.labels(self.criterion.connectivity)[0], counts)
            found += [mask.dense(pair.box, kept), count]
        reference, n_reference, prediction, n_prediction = found
        return reference, n_reference, prediction, n_prediction

    def scores(self) -> LesionScores:
        """Return counts and ratios."""
        verdicts = self.verdicts
        detected, true, matched = verdicts.reference_detected, verdicts.prediction_true, verdicts.matched
        n_reference, n_prediction = detected.size, true.size
        found, right = int(detected.sum()), int(true.sum())
        missed, false = n_reference - found, n_prediction - right
        sensitivity = found / n_reference if n_reference else nan
        ppv = right / n_prediction if n_prediction else (0.0 if n_reference else nan)
        both = sensitivity + ppv
        positives = found if self.criterion.true_positives == "reference" else right
        quality = nan
        if matched is not None and n_reference:
            quality = float(np.mean(self.overlaps.iou[matched])) if matched.size else 0.0
        false_voxels = int(self.overlaps.prediction_sizes[~true].sum())
        return LesionScores(
            n_reference=n_reference,
            n_prediction=n_prediction,
            detected_reference=found,
            true_prediction=right,
            sensitivity=sensitivity,
            ppv=ppv,
            f1=2 * sensitivity * ppv / both if both else 0.0,  # NaN stays NaN
            f1_counts=positives / (positives + (false + missed) / 2) if n_reference else nan,
            false_positives=false,
            false_positive_volume_ml=false_voxels * self.overlaps.voxel_volume / 1000,
            segmentation_quality=quality,
            merged_lesions=self._merged(),
        )

    def _merged(self) -> int:
        reference, prediction = self.overlaps.pairs.T
        shared = np.bincount(prediction, minlength=1) > 1
        return int(np.unique(reference[shared[prediction]]).size)


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
    """Score a prediction lesion by lesion under one criterion, `AnyOverlap()` if none is given; the other arguments and
    the errors are those of `score_criteria`."""
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


@dataclass(frozen=True)
class Stratum:
    """The lesions whose volume lies in one bin.

    A predicted lesion is binned by its own volume, not by that of the lesion it meets.
    """

    from_mm3: float  # lower edge, belongs to the bin
    to_mm3: float  # upper edge, does not; infinite for the last bin
    n_reference: int  # reference lesions of that volume
    detected_reference: int  # of these, the detected ones
    sensitivity: float  # 0 … 1, NaN without such a reference lesion
    n_prediction: int  # predicted lesions of that volume
    true_prediction: int  # of these, the true ones
    ppv: float  # 0 … 1, NaN without such a predicted lesion


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

    def shares(volumes: ArrayLike, hits: ArrayLike) -> list[tuple[int, int, float]]:
        bins = np.searchsorted(cuts, np.asarray(volumes, dtype=float), side="right")
        there = np.bincount(bins, minlength=len(edges) + 1).tolist()
        hit = np.bincount(bins[np.asarray(hits, dtype=bool)], minlength=len(edges) + 1).tolist()
        return [(n, k, k / n if n else nan) for n, k in zip(there, hit, strict=True)]

    reference, prediction = shares(reference_volumes, reference_detected), shares(prediction_volumes, prediction_true)
    bins = zip([0.0, *edges], [*edges, inf], reference, prediction, strict=True)
    return tuple(Stratum(low, high, *ours, *theirs) for low, high, ours, theirs in bins)

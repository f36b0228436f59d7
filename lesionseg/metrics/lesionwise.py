"""Sensitivity, PPV and F1 counted in lesions, under one criterion or several at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionseg.metrics._checks import check_masks
from lesionseg.metrics._sparse import SparseMask
from lesionseg.metrics.components import Labels, keep_labels
from lesionseg.metrics.criteria import AnyOverlap, Criterion, Verdicts
from lesionseg.metrics.overlaps import Flags, MaskPair, Overlaps


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

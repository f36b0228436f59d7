"""Sensitivity, PPV and F1 counted in lesions; any shared voxel is a match."""

from dataclasses import dataclass
from math import nan
from typing import Any

from numpy.typing import NDArray

from lesionseg.metrics._checks import check_masks
from lesionseg.metrics.components import Connectivity
from lesionseg.metrics.matching import LesionMatch, match_lesions


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
        detected_reference: reference lesions that a predicted one touches.
        true_prediction: predicted lesions that touch a reference one.
        sensitivity: detected_reference / n_reference.
        ppv: true_prediction / n_prediction.
        f1: harmonic mean of sensitivity and PPV, 0 where both are 0 (WMH challenge,
            doi 10.1109/TMI.2019.2905770).
        f1_counts: TP / (TP + (FP + FN) / 2) with TP and FN counted over reference lesions and FP over
            predicted ones (ISLES, doi 10.1038/s41597-022-01875-5). It differs from `f1` where lesions are
            split or merged.
        false_positives: predicted lesions that touch no reference lesion.
        false_positive_volume_ml: their volume together, in ml.
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


def score_lesions(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    spacing: tuple[float, float, float],
    *,
    connectivity: Connectivity = 26,
    min_volume_mm3: float = 0.0,
) -> LesionScores:
    """Score a prediction lesion by lesion: one that shares a voxel with the other side is a match.

    Args:
        reference: mask of 0 and 1, shape (I, J, K).
        prediction: mask of 0 and 1, the same shape.
        spacing: edge lengths of a voxel in mm.
        connectivity: which neighbouring voxels make one lesion.
        min_volume_mm3: lesions strictly smaller are background on both sides before matching.

    Raises:
        ValueError: if the masks are not binary, 3D and of one shape, or an option is impossible.
    """
    check_masks(reference, prediction)
    match = match_lesions(reference, prediction, spacing, connectivity=connectivity, min_volume_mm3=min_volume_mm3)
    return score_match(match)


def score_match(match: LesionMatch) -> LesionScores:
    """The scores of lesions that are matched already."""
    n_reference, n_prediction = match.reference_volumes.size, match.prediction_volumes.size
    true = match.prediction_true
    detected, n_true = int(match.reference_detected.sum()), int(true.sum())
    sensitivity = detected / n_reference if n_reference else nan
    ppv = _ppv(n_true, n_prediction, n_reference)
    missed, false = n_reference - detected, n_prediction - n_true
    return LesionScores(
        n_reference=n_reference,
        n_prediction=n_prediction,
        detected_reference=detected,
        true_prediction=n_true,
        sensitivity=sensitivity,
        ppv=ppv,
        f1=_harmonic_mean(sensitivity, ppv),
        f1_counts=detected / (detected + (false + missed) / 2) if n_reference else nan,
        false_positives=false,
        false_positive_volume_ml=float(match.prediction_volumes[~true].sum()) / 1000,
    )


def _ppv(true: int, n_prediction: int, n_reference: int) -> float:
    if n_prediction:
        return true / n_prediction
    return 0.0 if n_reference else nan


def _harmonic_mean(sensitivity: float, ppv: float) -> float:
    """NaN stays NaN; two zeros give 0."""
    total = sensitivity + ppv
    return 2 * sensitivity * ppv / total if total else 0.0

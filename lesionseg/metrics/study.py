"""Everything that is measured on one test study."""

from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import NDArray

from lesionseg.metrics._checks import check_affine, check_masks, check_probability
from lesionseg.metrics.components import Connectivity
from lesionseg.metrics.geometry import affine_spacing
from lesionseg.metrics.lesion_table import LesionRow, tabulate_match
from lesionseg.metrics.lesionwise import score_match
from lesionseg.metrics.matching import match_lesions
from lesionseg.metrics.overlap import dice, volume_ml


@dataclass(frozen=True)
class CaseScores:
    """One row of `cases.csv`; what is undefined is NaN, by the policy of `LesionScores`.

    Counts and lesionwise scores rest on lesions of at least the smallest volume that counts. Dice and the two
    volumes judge the masks as they are, small lesions included.

    Attributes:
        n_reference, n_prediction: lesions on either side.
        detected_reference: reference lesions that a predicted one touches.
        true_prediction: predicted lesions that touch a reference one.
        lesion_sensitivity, lesion_ppv, lesion_f1: 0 … 1 or NaN; F1 is their harmonic mean.
        dice: 0 … 1, NaN where both masks are empty.
        volume_reference_ml, volume_prediction_ml: ml.
        false_positives: predicted lesions that touch no reference lesion.
        false_positive_volume_ml: their volume, ml.
    """

    n_reference: int
    n_prediction: int
    detected_reference: int
    true_prediction: int
    lesion_sensitivity: float
    lesion_ppv: float
    lesion_f1: float
    dice: float
    volume_reference_ml: float
    volume_prediction_ml: float
    false_positives: int
    false_positive_volume_ml: float

    def as_row(self) -> dict[str, int | float]:
        """The columns by name, in order."""
        return asdict(self)


@dataclass(frozen=True)
class StudyScores:
    """One study: its row of scores, and a row per lesion (reference first)."""

    case: CaseScores
    lesions: tuple[LesionRow, ...]


def score_study(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    affine: NDArray[Any],
    *,
    probability: NDArray[Any] | None = None,
    connectivity: Connectivity = 26,
    min_volume_mm3: float = 0.0,
) -> StudyScores:
    """Score one study; each mask is labelled once.

    Args:
        reference: mask of 0 and 1, shape (I, J, K).
        prediction: mask of 0 and 1, the same shape.
        affine: voxel indices to world mm, shape (4, 4); the spacing is the norms of its columns.
        probability: 0 … 1, the same shape; fills the lesions' probabilities.
        connectivity: which neighbouring voxels make one lesion.
        min_volume_mm3: lesions strictly smaller are background on both sides before matching.

    Raises:
        ValueError: if the masks are not binary, 3D and of one shape, the affine is not 4 × 4, finite and
            invertible, the probability is not finite within 0 … 1, or an option is impossible.
    """
    check_masks(reference, prediction)
    check_affine(affine)
    if probability is not None:
        check_probability(probability, reference.shape)
    spacing = affine_spacing(affine)
    match = match_lesions(reference, prediction, spacing, connectivity=connectivity, min_volume_mm3=min_volume_mm3)
    scores = score_match(match)
    case = CaseScores(
        n_reference=scores.n_reference,
        n_prediction=scores.n_prediction,
        detected_reference=scores.detected_reference,
        true_prediction=scores.true_prediction,
        lesion_sensitivity=scores.sensitivity,
        lesion_ppv=scores.ppv,
        lesion_f1=scores.f1,
        dice=dice(reference, prediction),
        volume_reference_ml=volume_ml(reference, spacing),
        volume_prediction_ml=volume_ml(prediction, spacing),
        false_positives=scores.false_positives,
        false_positive_volume_ml=scores.false_positive_volume_ml,
    )
    return StudyScores(case, tuple(tabulate_match(match, affine, probability)))

"""Averages over test studies that say what they rest on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt
from typing import Any


@dataclass(frozen=True)
class Average:
    """Mean of one score over the studies in which it is defined.

    Attributes:
        mean: NaN where n is 0.
        standard_error: standard deviation (ddof = 1) over √n; NaN where n is below 2.
        n: studies that the mean rests on.
        n_undefined: studies with reference lesions in which the score is NaN.
    """

    mean: float
    standard_error: float
    n: int
    n_undefined: int


@dataclass(frozen=True)
class FalseAlarms:
    """Studies without reference lesion, where sensitivity means nothing and every prediction is false.

    Attributes:
        n_studies: how many there are.
        n_with_false_positives: how many of them have a predicted lesion.
        mean_false_positives: predicted lesions per such study; NaN where there is no such study.
        mean_false_positive_volume_ml: their volume per such study in ml; likewise.
    """

    n_studies: int
    n_with_false_positives: int
    mean_false_positives: float
    mean_false_positive_volume_ml: float


@dataclass(frozen=True)
class Averages:
    """Scores over the studies with reference lesions, and the others apart.

    The standard errors treat studies as independent: average a patient's sessions first where there are
    several.
    """

    lesion_sensitivity: Average
    lesion_ppv: Average
    lesion_f1: Average
    dice: Average
    without_lesions: FalseAlarms


def average(cases: Sequence[Mapping[str, Any]]) -> Averages:
    """Average the rows of test studies.

    Args:
        cases: rows with the columns of `CaseScores` (as from `CaseScores.as_row`), in any order.

    Returns:
        Means over the studies with `n_reference` above 0, and the false alarms of the others. With nothing to
        average a mean is NaN and its n is 0.

    Raises:
        KeyError: if a row lacks a column.
    """
    with_lesions = [case for case in cases if case["n_reference"] > 0]
    without = [case for case in cases if not case["n_reference"] > 0]
    return Averages(
        lesion_sensitivity=_average([case["lesion_sensitivity"] for case in with_lesions]),
        lesion_ppv=_average([case["lesion_ppv"] for case in with_lesions]),
        lesion_f1=_average([case["lesion_f1"] for case in with_lesions]),
        dice=_average([case["dice"] for case in with_lesions]),
        without_lesions=FalseAlarms(
            n_studies=len(without),
            n_with_false_positives=sum(case["false_positives"] > 0 for case in without),
            mean_false_positives=_mean([case["false_positives"] for case in without]),
            mean_false_positive_volume_ml=_mean([case["false_positive_volume_ml"] for case in without]),
        ),
    )


def _average(values: Sequence[float]) -> Average:
    defined = [float(value) for value in values if not isnan(value)]
    n = len(defined)
    mean = _mean(defined)
    error = sqrt(sum((value - mean) ** 2 for value in defined) / (n - 1) / n) if n > 1 else nan
    return Average(mean, error, n, len(values) - n)


def _mean(values: Sequence[float]) -> float:
    return float(sum(values)) / len(values) if values else nan

"""Averages over test studies that say what they rest on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt
from typing import Any

UNDEFINED_POLICY = (
    "Undefined scores: a case without reference lesion has no sensitivity and no F1; it is left out of the averages, "
    "its PPV of 0 too, and reported apart with its false positives. A case with reference lesions and no prediction "
    "has PPV and F1 0; distances need both masks. Averages rest on the cases in which a score is defined, as many as n "
    "says."
)
"""What stands under every table of scores."""


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


@dataclass(frozen=True)
class CriterionAverages:
    """Lesionwise scores under one criterion over the studies with reference lesions that count under it.

    The same words of caution hold as for `Averages`.
    """

    sensitivity: Average
    ppv: Average
    f1: Average
    f1_counts: Average
    segmentation_quality: Average
    without_lesions: FalseAlarms


def average_criterion(rows: Sequence[Mapping[str, Any]]) -> CriterionAverages:
    """Average studies under one criterion.

    Args:
        rows: one per study, with the fields of `LesionScores` as columns.

    Raises:
        KeyError: if a row lacks a column.
    """
    names = ("sensitivity", "ppv", "f1", "f1_counts", "segmentation_quality")
    there = [row for row in rows if row["n_reference"] > 0]
    averages = {name: average_values([row[name] for row in there]) for name in names}
    return CriterionAverages(**averages, without_lesions=_false_alarms(rows))


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
    names = ("lesion_sensitivity", "lesion_ppv", "lesion_f1", "dice")
    there = [case for case in cases if case["n_reference"] > 0]
    averages = {name: average_values([case[name] for case in there]) for name in names}
    return Averages(**averages, without_lesions=_false_alarms(cases))


def _false_alarms(rows: Sequence[Mapping[str, Any]]) -> FalseAlarms:
    without = [row for row in rows if not row["n_reference"] > 0]
    return FalseAlarms(
        n_studies=len(without),
        n_with_false_positives=sum(row["false_positives"] > 0 for row in without),
        mean_false_positives=_mean([row["false_positives"] for row in without]),
        mean_false_positive_volume_ml=_mean([row["false_positive_volume_ml"] for row in without]),
    )


def average_values(values: Sequence[float]) -> Average:
    """Mean and standard error of one score over studies; NaN is left out, and counted."""
    defined = [float(value) for value in values if not isnan(value)]
    n = len(defined)
    mean = _mean(defined)
    error = sqrt(sum((value - mean) ** 2 for value in defined) / (n - 1) / n) if n > 1 else nan
    return Average(mean, error, n, len(values) - n)


def _mean(values: Sequence[float]) -> float:
    return float(sum(values)) / len(values) if values else nan

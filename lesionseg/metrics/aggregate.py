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
CASE_SCORES = ("lesion_sensitivity", "lesion_ppv", "lesion_f1", "dice")
"""The columns of `CaseScores` that are averaged by default."""


@dataclass(frozen=True)
class Average:
    """Mean of one score over the studies in which it is defined."""

    mean: float  # NaN where n is 0
    standard_error: float  # standard deviation (ddof = 1) over √n; NaN where n is below 2
    n: int  # studies that the mean rests on
    n_undefined: int  # studies with reference lesions in which the score is NaN


@dataclass(frozen=True)
class FalseAlarms:
    """Studies without reference lesion, where sensitivity means nothing and every prediction is false."""

    n_studies: int
    n_with_false_positives: int
    mean_false_positives: float  # predicted lesions per such study; NaN where there is no such study
    mean_false_positive_volume_ml: float  # their volume per such study; likewise


def average(rows: Sequence[Mapping[str, Any]], names: Sequence[str] = CASE_SCORES) -> dict[str, Average]:
    """Average scores over the studies with reference lesions, those with `n_reference` above 0.

    The standard errors treat studies as independent: average a patient's sessions first where there are several.

    Args:
        rows: one per study, with `n_reference` and the scores as columns, as from `CaseScores.as_row`.
        names: the columns to average.

    Returns:
        Column to average; with nothing to average a mean is NaN and its n is 0.

    Raises:
        KeyError: if a row lacks a column.
    """
    there = [row for row in rows if row["n_reference"] > 0]
    found = {}
    for name in names:
        defined = [float(row[name]) for row in there if not isnan(row[name])]
        n, mean = len(defined), _mean(defined)
        error = sqrt(sum((value - mean) ** 2 for value in defined) / (n - 1) / n) if n > 1 else nan
        found[name] = Average(mean, error, n, len(there) - n)
    return found


def false_alarms(rows: Sequence[Mapping[str, Any]]) -> FalseAlarms:
    """Count the false positives of the studies without reference lesion; rows are those of `average`."""
    without = [row for row in rows if not row["n_reference"] > 0]
    return FalseAlarms(
        n_studies=len(without),
        n_with_false_positives=sum(row["false_positives"] > 0 for row in without),
        mean_false_positives=_mean([row["false_positives"] for row in without]),
        mean_false_positive_volume_ml=_mean([row["false_positive_volume_ml"] for row in without]),
    )


def _mean(values: Sequence[float]) -> float:
    return float(sum(values)) / len(values) if values else nan

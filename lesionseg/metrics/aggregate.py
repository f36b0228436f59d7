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
MOST_VOLUME = 3.0
"""Predicted over reference volume, and"""
MOST_MERGED = 0.5
"""share of merged reference lesions, from which on scores by overlap are not to be trusted."""


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


@dataclass(frozen=True)
class Coverage:
    """Whether predictions say where lesions are, or just cover them: any overlap calls a filled volume perfect."""

    volume_ratio: float  # predicted volume over that of the reference, all studies together; NaN without reference
    merged_share: float  # reference lesions that share a predicted lesion with another one, 0 … 1; NaN likewise
    merged_lesions: float  # how many these are per study with reference lesions; NaN likewise

    @property
    def warning(self) -> str:
        """What is excessive about it; empty where nothing is."""
        said = []
        if self.volume_ratio >= MOST_VOLUME:
            said.append(f"the predicted volume is {self.volume_ratio:.1f} times the reference's")
        if self.merged_share >= MOST_MERGED:
            said.append(f"{100 * self.merged_share:.0f} % of the reference lesions share a predicted one with another")
        return f"{' and '.join(said)}: overlap alone says little of such masks" if said else ""


def coverage(rows: Sequence[Mapping[str, Any]]) -> Coverage:
    """Measure how much predictions cover, over the studies with reference lesions.

    Args:
        rows: as for `average`, with `merged_lesions`, `volume_reference_ml` and `volume_prediction_ml`.
    """
    there = [row for row in rows if row["n_reference"] > 0]
    names = ("n_reference", "merged_lesions", "volume_reference_ml", "volume_prediction_ml")
    lesions, merged, reference, predicted = (sum(float(row[name]) for row in there) for name in names)
    if not there:
        return Coverage(nan, nan, nan)
    return Coverage(predicted / reference, merged / lesions, merged / len(there))


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

"""Statistics over patients and repeats; imports numpy and scipy, and statsmodels where it is called."""

from lesionseg.stats.label_savings import (
    IsotonicCurve,
    LabelSavings,
    PowerLawCurve,
    isotonic_curve,
    label_savings,
    power_law_curve,
)
from lesionseg.stats.paired import (
    ClusteredRatio,
    PairedDifference,
    Summary,
    clustered_ratio,
    crossed_difference,
    patients_needed,
    summarise,
)
from lesionseg.stats.tests import PatientTest, holm, sign_flip_test, wilcoxon_test

__all__ = [
    "ClusteredRatio",
    "IsotonicCurve",
    "LabelSavings",
    "PairedDifference",
    "PatientTest",
    "PowerLawCurve",
    "Summary",
    "clustered_ratio",
    "crossed_difference",
    "holm",
    "isotonic_curve",
    "label_savings",
    "patients_needed",
    "power_law_curve",
    "sign_flip_test",
    "summarise",
    "wilcoxon_test",
]

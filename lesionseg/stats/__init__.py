"""Statistics over patients and repeats; imports numpy and scipy, and statsmodels where it is called."""

from lesionseg.stats.label_savings import (
    Bounded,
    IsotonicCurve,
    LabelSaving,
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
    summarise,
)
from lesionseg.stats.tests import PatientTest, holm, sign_flip_test, wilcoxon_test

__all__ = [
    "Bounded",
    "ClusteredRatio",
    "IsotonicCurve",
    "LabelSaving",
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
    "power_law_curve",
    "sign_flip_test",
    "summarise",
    "wilcoxon_test",
]

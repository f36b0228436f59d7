"""Statistics over patients and repeats; imports numpy, scipy and statsmodels alone, statsmodels when it is called."""

from lesionseg.stats.censored import Censored, CensoredInterval
from lesionseg.stats.clustered_ratio import ClusteredRatio, clustered_ratio
from lesionseg.stats.holm import HolmAdjustment, holm
from lesionseg.stats.isotonic_curve import IsotonicCurve, isotonic_curve
from lesionseg.stats.label_savings import LabelSaving, LabelSavings, label_savings
from lesionseg.stats.mixed_model import MixedModel, mixed_model
from lesionseg.stats.paired import PairedDifference, crossed_difference
from lesionseg.stats.power_law_curve import PowerLawCurve, power_law_curve
from lesionseg.stats.sign_flip import SignFlipTest, sign_flip_test
from lesionseg.stats.summary import Summary, summarise
from lesionseg.stats.wilcoxon import WilcoxonTest, wilcoxon_test

__all__ = [
    "Censored",
    "CensoredInterval",
    "ClusteredRatio",
    "HolmAdjustment",
    "IsotonicCurve",
    "LabelSaving",
    "LabelSavings",
    "MixedModel",
    "PairedDifference",
    "PowerLawCurve",
    "SignFlipTest",
    "Summary",
    "WilcoxonTest",
    "clustered_ratio",
    "crossed_difference",
    "holm",
    "isotonic_curve",
    "label_savings",
    "mixed_model",
    "power_law_curve",
    "sign_flip_test",
    "summarise",
    "wilcoxon_test",
]

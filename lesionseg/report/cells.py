"""How numbers are written in a table: ``0.52 ± 0.04``, ``+0.12 [+0.03, +0.21]``, ``0.034``."""

from math import isnan

from lesionseg.report.results import ArmMean
from lesionseg.report.sentences import format_p
from lesionseg.stats import ClusteredRatio, MixedModel, PairedDifference

NOTHING = "–"


def mean_cell(mean: ArmMean | None) -> str:
    """Mean ± standard error over patients."""
    return NOTHING if mean is None else with_error(mean.mean, mean.standard_error)


def ratio_cell(ratio: ClusteredRatio | None) -> str:
    """A pooled ratio ± its standard error over patients."""
    return NOTHING if ratio is None else with_error(ratio.ratio, ratio.standard_error)


def difference_cell(difference: PairedDifference | MixedModel | None) -> str:
    """Difference [95 % interval]."""
    if difference is None or isnan(difference.mean):
        return NOTHING
    if isnan(difference.low):
        return f"{signed(difference.mean)} [{NOTHING}]"
    return f"{signed(difference.mean)} [{signed(difference.low)}, {signed(difference.high)}]"


def p_cell(p: float) -> str:
    """A p-value: ``0.034``, ``< 0.001``; a dash where there is no test."""
    return NOTHING if isnan(p) else format_p(p).removeprefix("p ").removeprefix("= ")


def signed(value: float) -> str:
    """Two digits with a sign, the minus as in print: ``+0.12``, ``−0.03``, ``0.00``."""
    return f"{value:+.2f}".replace("-", "−").replace("−0.00", "0.00").replace("+0.00", "0.00")


def with_error(mean: float, error: float) -> str:
    """``0.52 ± 0.04``, a dash for what is NaN."""
    if isnan(mean):
        return NOTHING
    return f"{mean:.2f} ± {NOTHING if isnan(error) else f'{error:.2f}'}"

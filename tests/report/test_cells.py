"""How numbers are written in tables."""

from math import nan

import pytest

from lesionseg.report import ArmMean
from lesionseg.report.cells import difference_cell, mean_cell, p_cell, ratio_cell, signed, with_error
from lesionseg.stats import ClusteredRatio, PairedDifference


def arm_mean(mean: float, error: float) -> ArmMean:
    return ArmMean("scratch", 2, "dice", mean, error, nan, nan, 8, 0, ())


def difference(mean: float, low: float, high: float) -> PairedDifference:
    return PairedDifference(mean, 0.1, 5.0, 1.0, 0.3, low, high, 8, 3)


def test_means_have_their_standard_error() -> None:
    assert mean_cell(arm_mean(0.523, 0.0449)) == "0.52 ± 0.04"
    assert mean_cell(arm_mean(0.5, nan)) == "0.50 ± –"
    assert mean_cell(arm_mean(nan, nan)) == mean_cell(None) == "–"
    assert with_error(1.0, 0.0) == "1.00 ± 0.00"


def test_ratios_are_written_as_means_are() -> None:
    assert ratio_cell(ClusteredRatio(0.5, 0.03, 0.4, 0.6, 5, 10, 4, 0)) == "0.50 ± 0.03"
    assert ratio_cell(None) == "–"


def test_differences_have_signs_and_their_interval() -> None:
    assert difference_cell(difference(0.123, -0.034, 0.28)) == "+0.12 [−0.03, +0.28]"
    assert difference_cell(difference(0.1, nan, nan)) == "+0.10 [–]"
    assert difference_cell(difference(nan, nan, nan)) == difference_cell(None) == "–"


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (-0.004, "0.00"), (0.004, "0.00"), (-0.5, "−0.50"), (0.5, "+0.50")]
)
def test_signs_are_those_of_print_and_nothing_has_none(value: float, text: str) -> None:
    assert signed(value) == text


@pytest.mark.parametrize(("p", "text"), [(0.0341, "0.034"), (0.0001, "< 0.001"), (1.0, "1.000"), (nan, "–")])
def test_p_values_are_short(p: float, text: str) -> None:
    assert p_cell(p) == text

"""Numbers and bounds: how they read, and that they stay what they are."""

from math import nan

import pytest

from lesionseg.stats import Censored, CensoredInterval


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (Censored(12.348), "12.35"),
        (Censored(40.0, "more than"), "more than 40"),
        (Censored(5.0, "at most"), "at most 5"),
        (Censored(nan), "nan"),
        (Censored(1234.0), "1234"),
    ],
)
def test_how_it_reads(number, text):
    assert str(number) == text


def test_bounds_outlive_a_transformation():
    interval = CensoredInterval(Censored(20.0), Censored(5.0, "at most"), Censored(40.0, "more than"))
    assert interval.transformed(lambda studies: studies - 10) == CensoredInterval(
        Censored(10.0), Censored(-5.0, "at most"), Censored(30.0, "more than")
    )

"""Numbers of which only a bound may be known."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Bound = Literal["exact", "more than", "at most"]


@dataclass(frozen=True)
class Censored:
    """A number, or the bound that is all that is known of it.

    Attributes:
        value: the number or the bound; NaN where not even that is known.
        bound: "exact": it is `value`; "more than": above it; "at most": it or below.
    """

    value: float
    bound: Bound = "exact"

    def __str__(self) -> str:
        number = f"{round(self.value, 2):g}"
        return number if self.bound == "exact" else f"{self.bound} {number}"


@dataclass(frozen=True)
class CensoredInterval:
    """An estimate with its interval, each of which may be but a bound.

    Attributes:
        estimate: from all the data.
        low: lower end of the interval; "at most" reads as reaching down to there at least, and "more than" says that
            even the lower end lies above.
        high: upper end; "more than" reads as reaching up to there at least.
    """

    estimate: Censored
    low: Censored
    high: Censored

    def transformed(self, by: Callable[[float], float]) -> "CensoredInterval":
        """The same after an increasing function, which keeps bounds what they are."""
        estimate, low, high = (
            Censored(by(number.value), number.bound) for number in (self.estimate, self.low, self.high)
        )
        return CensoredInterval(estimate, low, high)

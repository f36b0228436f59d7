"""Distributions that a configuration can name: intervals, quantiles, log-normal volumes."""

import itertools
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


class Parameters(BaseModel):
    """Base of all parameters: frozen, strict, no unknown keys, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _ascending(values: list[float]) -> list[float]:
    if any(first > second for first, second in itertools.pairwise(values)):
        raise ValueError("write the lower number first")
    return values


Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Interval = Annotated[list[float], Field(min_length=2, max_length=2), AfterValidator(_ascending)]
PositiveInterval = Annotated[list[Positive], Field(min_length=2, max_length=2), AfterValidator(_ascending)]
NotNegativeInterval = Annotated[list[NotNegative], Field(min_length=2, max_length=2), AfterValidator(_ascending)]
ShareInterval = Annotated[list[Share], Field(min_length=2, max_length=2), AfterValidator(_ascending)]


def uniform(rng: np.random.Generator, interval: Sequence[float]) -> float:
    """Draw a number from an interval [low, high]."""
    low, high = interval
    return float(rng.uniform(low, high))


class Quantiles(Parameters):
    """A distribution by its quantiles, logarithmic between them."""

    shares: list[Share] = Field(min_length=2)  # from 0 to 1
    values: list[Positive] = Field(min_length=2)  # one for each share

    @model_validator(mode="after")
    def _is_a_distribution(self) -> "Quantiles":
        if len(self.shares) != len(self.values):
            raise ValueError(f"{len(self.shares)} shares and {len(self.values)} values: there must be one of each")
        if self.shares[0] != 0 or self.shares[-1] != 1 or sorted(set(self.shares)) != self.shares:
            raise ValueError(f"shares must go up from 0 to 1, found {self.shares}")
        if sorted(self.values) != self.values:
            raise ValueError(f"values must not go down, found {self.values}")
        return self

    def at(self, share: float) -> float:
        """Return the value that this share (0 to 1) of the distribution lies below."""
        return float(np.exp(np.interp(share, self.shares, np.log(self.values))))


class Volumes(Parameters):
    """Log-normal volumes in mm³, cut off at ``low`` and ``high``."""

    median: Positive
    log_sd: NotNegative
    low: Positive
    high: Positive

    @model_validator(mode="after")
    def _can_be_drawn(self) -> "Volumes":
        if not self.low < self.median < self.high:
            raise ValueError(f"median {self.median} must lie between low {self.low} and high {self.high}")
        return self

    def draw(self, rng: np.random.Generator, count: int) -> list[float]:
        """Draw ``count`` volumes in mm³."""
        from scipy import special  # takes a fifth of a second to import, and a configuration needs none of it

        middle, spread = np.log(self.median), max(self.log_sd, 1e-9)
        low, high = (special.ndtr((np.log(limit) - middle) / spread) for limit in (self.low, self.high))
        drawn = np.exp(middle + spread * special.ndtri(rng.uniform(low, high, count)))
        return [float(volume) for volume in np.clip(drawn, self.low, self.high)]

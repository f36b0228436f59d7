"""p-values of several comparisons, so that one of them is wrong at most as often as the level says."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class HolmAdjustment:
    """p-values after Holm.

    Attributes:
        p: adjusted p-values, 0 … 1, each at least what it was; the shape and order of those given; NaN where
            there was no test.
        n_tests: p-values that are not NaN: how many comparisons were adjusted for.
    """

    p: NDArray[np.float64]
    n_tests: int


def holm(p_values: ArrayLike) -> HolmAdjustment:
    """Holm's step-down adjustment: the chance of any false positive among the comparisons stays at the level.

    The smallest of m p-values is multiplied by m, the next one by m − 1, and so on; none falls below the one
    before. It needs no independence and is never weaker than Bonferroni's.

    Source: Holm 1979, Scand J Stat 6:65–70; `statsmodels.stats.multitest.multipletests`, method "holm".

    Args:
        p_values: 0 … 1, any shape; NaN is a comparison without a test: it stays NaN and counts for nothing.

    Raises:
        ValueError: if a p-value is outside 0 … 1.
    """
    p = np.array(p_values, dtype=np.float64)
    tested = ~np.isnan(p)
    wrong = p[tested & ~((p >= 0) & (p <= 1))]
    if wrong.size:
        raise ValueError(f"p-values must lie in 0 … 1 or be NaN (no test), found {wrong[0]}.")
    if tested.any():
        # Takes a quarter of a second to come, and brings pandas.
        from statsmodels.stats.multitest import multipletests

        p[tested] = multipletests(p[tested], method="holm")[1]
    return HolmAdjustment(p, int(tested.sum()))

"""Which threshold turns a probability map into the best mask."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

Score = Callable[[NDArray[np.bool_]], float]


@dataclass(frozen=True)
class ThresholdChoice:
    """A threshold and what it was chosen from.

    Attributes:
        threshold: the chosen one; the default where no candidate has a mean score above zero.
        candidates: ascending.
        means: the mean score at each candidate over the studies in which it is defined; NaN without any.
        n_studies: studies with a defined score at the chosen threshold; 0 where the default was kept.
    """

    threshold: float
    candidates: tuple[float, ...]
    means: tuple[float, ...]
    n_studies: int


def choose_threshold(
    studies: Iterable[tuple[NDArray[Any], Score]], candidates: Sequence[float], default: float
) -> ThresholdChoice:
    """The candidate with the highest mean score; of equally good ones that nearest to the default.

    Give it validation studies alone: a threshold that has seen the test studies makes their scores worthless.

    Args:
        studies: of each the probability map, 0 … 1, and a function that scores the mask {probability ≥ threshold},
            0 … 1 or NaN where it is undefined.
        candidates: thresholds to try, in any order.
        default: what is kept where no candidate finds anything.

    Raises:
        ValueError: if there is no candidate.
    """
    if not candidates:
        raise ValueError("There must be at least one threshold to choose from, found none.")
    tried = sorted(set(candidates))
    scores = np.array(
        [[score(probability >= threshold) for threshold in tried] for probability, score in studies], dtype=float
    ).reshape(-1, len(tried))
    defined = ~np.isnan(scores)
    means = [fmean(column[there]) if there.any() else np.nan for column, there in zip(scores.T, defined.T, strict=True)]
    best = max((mean for mean in means if mean == mean), default=0.0)
    if best <= 0:
        return ThresholdChoice(default, tuple(tried), tuple(means), 0)
    equal = [index for index, mean in enumerate(means) if mean >= best - 1e-12]
    chosen = min(equal, key=lambda index: (abs(tried[index] - default), tried[index]))
    return ThresholdChoice(tried[chosen], tuple(tried), tuple(means), int(defined[:, chosen].sum()))

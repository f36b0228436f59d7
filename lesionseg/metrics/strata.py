"""Sensitivity and PPV by lesion volume."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Stratum:
    """The lesions whose volume lies in one bin.

    A predicted lesion is binned by its own volume, not by that of the lesion it meets.

    Attributes:
        from_mm3: lower edge, belongs to the bin.
        to_mm3: upper edge, does not; infinite for the last bin.
        n_reference: reference lesions of that volume.
        detected_reference: of these, the detected ones.
        sensitivity: 0 … 1, NaN without such a reference lesion.
        n_prediction: predicted lesions of that volume.
        true_prediction: of these, the true ones.
        ppv: 0 … 1, NaN without such a predicted lesion.
    """

    from_mm3: float
    to_mm3: float
    n_reference: int
    detected_reference: int
    sensitivity: float
    n_prediction: int
    true_prediction: int
    ppv: float


def stratify(
    reference_volumes: ArrayLike,
    reference_detected: ArrayLike,
    prediction_volumes: ArrayLike,
    prediction_true: ArrayLike,
    edges_mm3: Sequence[float],
) -> tuple[Stratum, ...]:
    """Count lesions by volume, of one study or of several put together.

    Args:
        reference_volumes: mm³ of each reference lesion, shape (R,).
        reference_detected: whether each is detected, shape (R,).
        prediction_volumes: mm³ of each predicted lesion, shape (Q,).
        prediction_true: whether each is true, shape (Q,).
        edges_mm3: where one bin ends and the next begins, ascending, in mm³; the first bin begins at 0 and the last
            has no end.

    Raises:
        ValueError: if the edges are not positive, finite and ascending.
    """
    edges = [float(edge) for edge in edges_mm3]
    if not all(isfinite(edge) for edge in edges) or any(a >= b for a, b in zip([0.0, *edges], edges, strict=False)):
        raise ValueError(f"The edges between volume bins must be positive and ascending, found {edges}.")
    # As with the smallest lesion, a volume within a billionth of an edge counts as on it: 0.1 mm has no binary form.
    cuts = np.array(edges) * (1 - 1e-9)

    def counts(volumes: ArrayLike, hits: ArrayLike) -> tuple[list[int], list[int]]:
        bins = np.searchsorted(cuts, np.asarray(volumes, dtype=float), side="right")
        there = np.bincount(bins, minlength=len(edges) + 1)
        return there.tolist(), np.bincount(bins[np.asarray(hits, dtype=bool)], minlength=len(edges) + 1).tolist()

    n_reference, detected = counts(reference_volumes, reference_detected)
    n_prediction, true = counts(prediction_volumes, prediction_true)
    return tuple(
        Stratum(
            from_mm3=low,
            to_mm3=high,
            n_reference=n_reference[index],
            detected_reference=detected[index],
            sensitivity=detected[index] / n_reference[index] if n_reference[index] else nan,
            n_prediction=n_prediction[index],
            true_prediction=true[index],
            ppv=true[index] / n_prediction[index] if n_prediction[index] else nan,
        )
        for index, (low, high) in enumerate(zip([0.0, *edges], [*edges, inf], strict=True))
    )

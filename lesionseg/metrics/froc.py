"""The free-response ROC: sensitivity against false positives per study, over all thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan

import numpy as np
from numpy.typing import NDArray

from lesionseg.metrics.lesion_curve import LesionCurve


@dataclass(frozen=True, eq=False)
class Froc:
    """The free-response ROC of several studies, all cut at the same threshold (Bunch et al., J Appl Photogr Eng
    4:166, 1978; Chakraborty, Med Phys 16:561, 1989).

    Attributes:
        thresholds: where a count of any study changes, shape (K,) in descending order.
        sensitivity: detected reference lesions of all studies / reference lesions of all studies, shape (K,); NaN
            where there is none.
        mean_sensitivity: mean over the studies that have a reference lesion of their own sensitivity, shape (K,);
            NaN where no study has one.
        false_positives_per_study: mean over all studies, those without reference lesion too, shape (K,).
        n_studies: how many studies.
        n_reference: reference lesions of all studies.
    """

    thresholds: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    mean_sensitivity: NDArray[np.float64]
    false_positives_per_study: NDArray[np.float64]
    n_studies: int
    n_reference: int


def pool_curves(curves: Sequence[LesionCurve]) -> Froc:
    """Put the curves of several studies together, every study cut at the same threshold.

    Args:
        curves: one per study, from maps of one range of values.

    Raises:
        ValueError: if there is no curve.
    """
    if not curves:
        raise ValueError("A FROC needs the curve of at least one study, found none.")
    thresholds = np.unique(np.concatenate([curve.thresholds for curve in curves]))[::-1]
    detected, false = np.zeros((2, thresholds.size), dtype=np.int64)
    ratios = np.zeros(thresholds.size)
    for curve in curves:
        counts = curve.at(thresholds)
        detected += counts.detected_reference
        false += counts.false_positives
        if curve.n_reference:
            ratios += counts.detected_reference / curve.n_reference
    n_reference = sum(curve.n_reference for curve in curves)
    with_lesions = sum(curve.n_reference > 0 for curve in curves)
    undefined = np.full(thresholds.size, nan)
    return Froc(
        thresholds=thresholds,
        sensitivity=detected / n_reference if n_reference else undefined,
        mean_sensitivity=ratios / with_lesions if with_lesions else undefined,
        false_positives_per_study=false / len(curves),
        n_studies=len(curves),
        n_reference=n_reference,
    )


def sensitivity_at(froc: Froc, false_positives: float) -> float:
    """The highest sensitivity with at most so many false positives per study.

    A falling threshold first adds false positives and then joins them, until all that the map holds is one lesion that
    finds everything and is not even false. Such thresholds do not count: each has as many false positives as any
    threshold above it had.

    The curve is a step function of the operating points that exist; nothing is interpolated between them. LUNA16
    averages this over 1/8, 1/4, 1/2, 1, 2, 4 and 8 (doi 10.1016/j.media.2017.06.015), between points interpolated.

    Args:
        froc: as from `pool_curves`; its pooled `sensitivity` is read.
        false_positives: mean number per study that is bearable, 0 or more; infinity gives the highest of all.

    Returns:
        A value within 0 … 1; 0 where no threshold has so few, NaN where there is no reference lesion.

    Raises:
        ValueError: if the number is negative or NaN.
    """
    if not false_positives >= 0:
        raise ValueError(f"False positives per study must be 0 or more, found {false_positives}.")
    if not froc.n_reference:
        return nan
    return float(froc.sensitivity[_met_so_far(froc) <= false_positives].max(initial=0.0))


def froc_area(froc: Froc, up_to: float) -> float:
    """The mean of `sensitivity_at` over all numbers of false positives per study from 0 to a limit.

    It is the area under the FROC curve up to a limit (Bunch et al., J Appl Photogr Eng 4:166, 1978; Chakraborty,
    Med Phys 16:561, 1989), divided by the limit; the curve is the step function of `sensitivity_at`.

    Args:
        froc: as from `pool_curves`.
        up_to: false positives per study at which the area ends, above 0 and finite.

    Returns:
        A value within 0 … 1, NaN where there is no reference lesion.

    Raises:
        ValueError: if the limit is not positive and finite.
    """
    if not 0 < up_to < inf:
        raise ValueError(f"The area must end at a positive number of false positives per study, found {up_to}.")
    if not froc.n_reference:
        return nan
    false = _met_so_far(froc)
    within = false <= up_to
    widths = np.diff(false[within], append=up_to)
    return float(np.maximum.accumulate(froc.sensitivity[within]) @ widths) / up_to


def _met_so_far(froc: Froc) -> NDArray[np.float64]:
    """The most false positives per study at each threshold and any above it, shape (K,), ascending."""
    return np.maximum.accumulate(froc.false_positives_per_study)

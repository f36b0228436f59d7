"""The FROC of each arm and size."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lesionseg.metrics import Froc, froc_area
from lesionseg.report.run_curves import RunCurves

Array = NDArray[np.float64]
FALSE_POSITIVES: Array = np.concatenate([[0.0], np.geomspace(1 / 16, 64, 81)])
"""Where the curves are read, per study: 0, and eight a doubling from 1/16 to 64."""


@dataclass(frozen=True, eq=False)
class FrocBand:
    """The free-response ROC of one arm at one size: the mean over repeats of each trained model's own.

    Lesions of all test studies are pooled, as in `lesionseg.metrics.Froc`, and a found lesion is one that a predicted
    one touches, whatever the task's criterion: the operating point under that criterion may lie beside the curve.

    Attributes:
        arm: value of init.
        train_size: training studies.
        false_positives: per study, ascending from 0; shape (G,).
        sensitivity: the highest with at most so many false positives, 0 … 1, mean over repeats; shape (G,).
        low: the lowest of the repeats; None with one repeat.
        high: the highest of them.
        area: under the curve up to `area_limit` false positives per study, divided by it; 0 … 1, mean over repeats.
        area_limit: the last of the run's ``metrics.false_positives``.
        operating_point: false positives per study and pooled sensitivity at the model's threshold, mean over repeats;
            it may lie below the curve, which takes the best of all thresholds with so few false positives.
        n_repeats: how many there are.
    """

    arm: str
    train_size: int
    false_positives: Array
    sensitivity: Array
    low: Array | None
    high: Array | None
    area: float
    area_limit: float
    operating_point: tuple[float, float]
    n_repeats: int


@dataclass(frozen=True, eq=False)
class RunFroc:
    """The FROC of one trained model.

    Attributes:
        arm: value of init.
        train_size: training studies.
        repeat: which repeat.
        sensitivity: at `FALSE_POSITIVES`; NaN without a reference lesion.
        area: up to `area_limit`.
        area_limit: false positives per study.
        operating_point: false positives per study and sensitivity at the model's threshold.
    """

    arm: str
    train_size: int
    repeat: int
    sensitivity: Array
    area: float
    area_limit: float
    operating_point: tuple[float, float]


def run_froc(curves: RunCurves, area_limit: float) -> RunFroc:
    """Read one run's FROC off its table of thresholds."""
    froc = curves.froc()
    met = np.maximum.accumulate(froc.false_positives_per_study)
    best = np.concatenate([[0.0], np.maximum.accumulate(froc.sensitivity)])
    sensitivity = best[np.searchsorted(met, FALSE_POSITIVES, side="right")] if froc.n_reference else _nothing()
    return RunFroc(
        arm=curves.arm,
        train_size=curves.train_size,
        repeat=curves.repeat,
        sensitivity=sensitivity,
        area=froc_area(froc, area_limit),
        area_limit=area_limit,
        operating_point=_operating_point(froc, curves.threshold),
    )


def froc_bands(runs: Sequence[RunFroc], arms: Sequence[str]) -> tuple[FrocBand, ...]:
    """The mean and the range of the repeats, per size and arm, in that order; arms as they are wanted."""
    bands = []
    for size, arm in product(sorted({run.train_size for run in runs}), arms):
        own = [run for run in runs if (run.arm, run.train_size) == (arm, size)]
        if own:
            bands.append(_band(own))
    return tuple(bands)


def _band(runs: Sequence[RunFroc]) -> FrocBand:
    sensitivity, several = np.stack([run.sensitivity for run in runs]), len(runs) > 1
    points = np.mean([run.operating_point for run in runs], axis=0)
    return FrocBand(
        arm=runs[0].arm,
        train_size=runs[0].train_size,
        false_positives=FALSE_POSITIVES,
        sensitivity=sensitivity.mean(axis=0),
        low=sensitivity.min(axis=0) if several else None,
        high=sensitivity.max(axis=0) if several else None,
        area=float(np.mean([run.area for run in runs])),
        area_limit=runs[0].area_limit,
        operating_point=(float(points[0]), float(points[1])),
        n_repeats=len(runs),
    )


def _operating_point(froc: Froc, threshold: float) -> tuple[float, float]:
    """At the last of the descending thresholds that is not below the model's."""
    n_above = int(np.searchsorted(-froc.thresholds, -threshold, side="right"))
    if n_above == 0:
        return 0.0, 0.0 if froc.n_reference else float("nan")
    return float(froc.false_positives_per_study[n_above - 1]), float(froc.sensitivity[n_above - 1])


def _nothing() -> Array:
    return np.full(FALSE_POSITIVES.size, np.nan)

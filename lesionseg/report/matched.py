"""PPV where two arms find the same share of lesions, so that a shift of the operating point is not taken for a better
model."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import nan

import pandas as pd

from lesionseg.report.pairs import paired
from lesionseg.report.run_curves import RunCurves
from lesionseg.stats import PairedDifference, crossed_difference


@dataclass(frozen=True)
class MatchedPpv:
    """An arm's PPV and the reference arm's, each at the threshold that gives the same sensitivity.

    In each repeat the lower of the two models' mean sensitivities over patients, each at its own threshold, is the
    target; each is then cut at the highest threshold of its probability maps that reaches it. As in the FROC a found
    lesion is one that a predicted one touches, whatever the task's criterion.

    Attributes:
        arm: value of init.
        reference: of the arm that it is held against.
        train_size: training studies.
        sensitivity: the target, mean over repeats, 0 … 1; NaN without any.
        ppv: the arm's PPV there, mean over patients with reference lesions, each the mean of their repeats; NaN where
            it cannot be had.
        reference_ppv: the reference arm's.
        difference: the crossed test of ppv − reference_ppv; None where there is nothing to test.
        note: what the reader has to know, such as repeats that do not reach the target; empty where nothing.
    """

    arm: str
    reference: str
    train_size: int
    sensitivity: float
    ppv: float
    reference_ppv: float
    difference: PairedDifference | None
    note: str = ""


@dataclass(frozen=True, eq=False)
class MatchedRepeat:
    """Two models of one size and repeat at the same sensitivity.

    Attributes:
        arm: value of init.
        reference: of the arm that it is held against.
        train_size: training studies.
        repeat: which repeat.
        sensitivity: the target, mean over patients; 0 where an arm finds nothing at its threshold.
        ppv: of each patient under the arm; None where the target is 0.
        reference_ppv: under the reference arm, likewise.
    """

    arm: str
    reference: str
    train_size: int
    repeat: int
    sensitivity: float
    ppv: "pd.Series[float] | None" = None
    reference_ppv: "pd.Series[float] | None" = None


def match_repeat(reference: RunCurves, other: RunCurves) -> MatchedRepeat:
    """Cut two models of the same size and repeat where both have the lower one's sensitivity."""
    target = min(run.sensitivity_at(run.threshold) for run in (reference, other))
    place = (other.arm, reference.arm, other.train_size, other.repeat)
    cuts = [run.threshold_at(target) for run in (reference, other)]
    if target <= 0 or cuts[0] is None or cuts[1] is None:
        return MatchedRepeat(*place, target)
    return MatchedRepeat(*place, target, other.patient_ppv(cuts[1]), reference.patient_ppv(cuts[0]))


def matched_ppv(repeats: Sequence[MatchedRepeat], arms: Sequence[str]) -> tuple[MatchedPpv, ...]:
    """PPV at matched sensitivity, per size and arm, in that order; arms as they are wanted."""
    rows = []
    for size, arm in product(sorted({one.train_size for one in repeats}), arms):
        own = [one for one in repeats if (one.arm, one.train_size) == (arm, size)]
        if own:
            rows.append(_matched(own))
    return tuple(rows)


def _matched(repeats: Sequence[MatchedRepeat]) -> MatchedPpv:
    first = repeats[0]
    there = [one for one in repeats if one.ppv is not None and one.reference_ppv is not None]
    lost = len(repeats) - len(there)
    note = (
        f"In {lost} of {len(repeats)} repeats an arm finds no lesion at its threshold: nothing to match."
        if lost
        else ""
    )
    place = (first.arm, first.reference, first.train_size)
    if not there:
        return MatchedPpv(*place, nan, nan, nan, None, note)
    own = pd.DataFrame({one.repeat: one.ppv for one in there})
    reference = pd.DataFrame({one.repeat: one.reference_ppv for one in there})
    return MatchedPpv(
        *place,
        sensitivity=sum(one.sensitivity for one in there) / len(there),
        ppv=float(own.mean(axis=1).mean()),
        reference_ppv=float(reference.mean(axis=1).mean()),
        difference=crossed_difference(paired(reference, own)),
        note=note,
    )

"""How many studies does fine-tuning save?"""

from dataclasses import dataclass
from math import ceil, floor, inf, nan

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionseg.stats._learning_curve import as_sizes
from lesionseg.stats._table import ONE_REPEAT
from lesionseg.stats.censored import Censored, CensoredInterval
from lesionseg.stats.isotonic_curve import IsotonicCurve, isotonic_curve

NOTHING = "An arm has no score at any size, or no patient has all scores of any repeat: nothing to compare."
ONE_PATIENT = "One patient: no interval."


@dataclass(frozen=True)
class LabelSaving:
    """What fine-tuning at one size saves.

    Attributes:
        size: training studies n of the fine-tuned arm.
        score: its mean score there, over patients and repeats; NaN where it has none.
        needed: training studies with which the de-novo arm gets the same score. "more than N" where its curve
            does not reach it at its largest size N; "at most n" where it has it at its smallest size n already.
        saving: needed − size, in studies; negative where fine-tuning costs studies.
        multiplier: needed / size; below 1 where fine-tuning costs studies.
        share_more: share of the resamples in which needed is "more than N", 0 … 1; NaN without an interval.
        share_at_most: share of those in which it is "at most n".
    """

    size: float
    score: float
    needed: CensoredInterval
    saving: CensoredInterval
    multiplier: CensoredInterval
    share_more: float
    share_at_most: float


@dataclass(frozen=True)
class LabelSavings:
    """What fine-tuning saves at each of its sizes.

    Attributes:
        savings: one per size, ascending.
        de_novo: the de-novo arm's curve, which they are read from.
        n_patients: patients that they rest on: those with every repeat of both arms at every size.
        n_repeats: repeats that they rest on.
        note: what the reader has to know, one sentence after another; empty where nothing.
    """

    savings: tuple[LabelSaving, ...]
    de_novo: IsotonicCurve
    n_patients: int
    n_repeats: int
    note: str = ""


def label_savings(
    sizes: ArrayLike,
    de_novo: ArrayLike,
    fine_tuned: ArrayLike,
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> LabelSavings:
    """For each size of the fine-tuned arm: the studies that the de-novo arm needs for the same score.

    The de-novo arm's mean scores are made non-decreasing (`isotonic_curve`) and read backwards: the smallest
    number of studies at which the curve has the score, linear in log n between sizes. Outside of the sizes nothing
    is extrapolated: the answer is then "more than" the largest or "at most" the smallest one. Where the curve
    is flat from its smallest size on, a score that it has there is "at most" that size.

    The interval is the percentile bootstrap over patients and repeats together: patients are drawn with
    replacement, and so are repeats, crossed and independently, the same draw for both arms and all sizes, since
    all were tested on the same patients and repeat k has nested training sets. Each draw has its own curve and
    its own answer. Answers that are bounds stay bounds: they rank below or above every number, and the ends of
    the interval are order statistics, never a mean of two. So an interval of "at most 5" to "more than 40" has
    been told nothing.

    Drawing both counts the residual more than once, which is cautious; but K repeats show only (K − 1)/K of the
    variance of trainings. In simulations with 5 sizes and 15 or 30 patients the 95 % interval held the truth in
    93 % or more where trainings vary little, and in 82 to 94 % where training luck at each size dominates.

    Source: percentile bootstrap, Efron & Tibshirani 1993, ch. 13; crossed resampling, McCullagh 2000
    (doi 10.2307/3318577), Owen 2007 (doi 10.1214/07-AOAS122).

    Args:
        sizes: training studies, above 0, ascending; shape (S,).
        de_novo: score of each patient in each repeat, higher is better; shape (S, P patients, K repeats). Patients
            and repeats have the same order in both arms.
        fine_tuned: likewise. NaN is a missing score. A size that an arm lacks altogether is left out of that arm;
            then a repeat that lacks all patients of a size in an arm is dropped, then every patient with a
            missing score; the note counts both.
        level: of the interval, above 0 and below 1.
        n_resamples: draws, at least 1.
        seed: of the draws.

    Returns:
        A saving per size. Sizes that the fine-tuned arm lacks: score and all numbers are NaN. Nothing to compare:
        all NaN, with the reason in the note. One patient: no interval. One repeat: an interval over patients.

    Raises:
        ValueError: if sizes, shapes or options are not as described, or a score is infinite.
    """
    array, scratch, tuned = _validate(sizes, de_novo, fine_tuned, level, n_resamples)
    in_scratch, in_tuned = (np.asarray(~np.isnan(arm).all(axis=(1, 2))) for arm in (scratch, tuned))
    scores, notes = _complete(np.concatenate([scratch[in_scratch], tuned[in_tuned]]))
    _, n_patients, n_repeats = scores.shape
    n_scratch = int(in_scratch.sum())
    if not in_scratch.any() or not in_tuned.any() or not n_patients or not n_repeats:
        undefined = tuple(_undefined(size) for size in array)
        return LabelSavings(undefined, IsotonicCurve(np.empty(0), np.empty(0)), 0, 0, " ".join([*notes, NOTHING]))
    notes += [ONE_REPEAT] * (n_repeats == 1) + [ONE_PATIENT] * (n_patients == 1)

    curve_sizes, mean = array[in_scratch], scores.mean(axis=(1, 2))
    curve = isotonic_curve(curve_sizes, mean[:n_scratch])
    needed = _needed(curve, mean[n_scratch:])
    draws = np.empty((0, needed.size))
    if n_patients > 1:
        resampled = _resampled_means(scores, n_resamples, seed)
        draws = np.array([_needed(isotonic_curve(curve_sizes, m[:n_scratch]), m[n_scratch:]) for m in resampled])
    columns = iter(zip(mean[n_scratch:], needed, draws.T, strict=True))
    savings = tuple(
        _saving(size, *next(columns), curve_sizes, level) if present else _undefined(size)
        for size, present in zip(array, in_tuned, strict=True)
    )
    return LabelSavings(savings, curve, n_patients, n_repeats, " ".join(notes))


def _validate(
    sizes: ArrayLike, de_novo: ArrayLike, fine_tuned: ArrayLike, level: float, n_resamples: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    array = as_sizes(sizes)
    scratch, tuned = np.asarray(de_novo, dtype=np.float64), np.asarray(fine_tuned, dtype=np.float64)
    if scratch.ndim != 3 or scratch.shape != tuned.shape or scratch.shape[0] != array.size:
        raise ValueError(
            f"Both arms take a table (sizes, patients, repeats) with {array.size} sizes, "
            f"found shapes {scratch.shape} and {tuned.shape}."
        )
    if np.isinf(scratch).any() or np.isinf(tuned).any():
        raise ValueError("Scores must be finite or NaN (missing), found an infinite one.")
    if not 0 < level < 1:
        raise ValueError(f"The interval's level must be above 0 and below 1, found {level}.")
    if n_resamples < 1:
        raise ValueError(f"The bootstrap takes at least one resample, found {n_resamples}.")
    return array, scratch, tuned


def _complete(scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[str]]:
    """The rows without repeats that one of them lacks, then without patients with a missing score."""
    present = ~np.isnan(scores)
    repeats = present.any(axis=1).all(axis=0)
    kept = scores[:, :, repeats]
    patients = ~np.isnan(kept).any(axis=(0, 2)) & bool(repeats.any())
    notes = []
    if not repeats.all():
        notes.append(f"{(~repeats).sum()} of {repeats.size} repeats lack a size and are left out.")
    if not patients.all():
        notes.append(f"{(~patients).sum()} of {patients.size} patients lack a score and are left out.")
    return kept[:, patients], notes


def _needed(curve: IsotonicCurve, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smallest size at which the curve has each score; −inf where the first one has it, inf where none has."""
    fitted, log_sizes = curve.fitted, np.log(curve.sizes)
    tolerance = 1e-12 * max(float(np.abs(fitted).max()), float(np.abs(scores).max(initial=0.0)))
    above = np.searchsorted(fitted, scores - tolerance, side="left")
    needed = np.where(above == 0, -inf, inf)
    inside = (above > 0) & (above < fitted.size)
    upper, lower = above[inside], above[inside] - 1
    share = (scores[inside] - fitted[lower]) / (fitted[upper] - fitted[lower])
    log_needed = log_sizes[lower] + np.minimum(share, 1.0) * (log_sizes[upper] - log_sizes[lower])
    needed[inside] = np.where(share >= 1, curve.sizes[upper], np.exp(log_needed))
    return needed


def _resampled_means(scores: NDArray[np.float64], n_resamples: int, seed: int) -> NDArray[np.float64]:
    """Mean of each row over drawn patients and repeats; shape (n_resamples, rows)."""
    _, n_patients, n_repeats = scores.shape
    random = np.random.default_rng(seed)
    patients = random.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=n_resamples) / n_patients
    repeats = random.multinomial(n_repeats, np.full(n_repeats, 1 / n_repeats), size=n_resamples) / n_repeats
    means: NDArray[np.float64] = np.einsum("srd,dr->ds", np.einsum("spr,dp->srd", scores, patients), repeats)
    return means


def _saving(
    size: float,
    score: float,
    needed: float,
    draws: NDArray[np.float64],
    curve_sizes: NDArray[np.float64],
    level: float,
) -> LabelSaving:
    low, high = nan, nan
    if draws.size:
        ranked, tail = np.sort(draws), (1 - level) / 2 * draws.size
        low, high = float(ranked[floor(tail)]), float(ranked[ceil(draws.size - tail) - 1])
    estimate, lower, upper = (_censored(value, curve_sizes) for value in (needed, low, high))
    studies = CensoredInterval(estimate, lower, upper)
    return LabelSaving(
        size=float(size),
        score=float(score),
        needed=studies,
        saving=studies.transformed(lambda number: number - float(size)),
        multiplier=studies.transformed(lambda number: number / float(size)),
        share_more=float(np.mean(draws == inf)) if draws.size else nan,
        share_at_most=float(np.mean(draws == -inf)) if draws.size else nan,
    )


def _censored(needed: float, curve_sizes: NDArray[np.float64]) -> Censored:
    if needed == inf:
        return Censored(float(curve_sizes[-1]), "more than")
    if needed == -inf:
        return Censored(float(curve_sizes[0]), "at most")
    return Censored(float(needed))


def _undefined(size: float) -> LabelSaving:
    nothing = CensoredInterval(Censored(nan), Censored(nan), Censored(nan))
    return LabelSaving(float(size), nan, nothing, nothing, nothing, nan, nan)

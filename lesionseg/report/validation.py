"""Whether an arm is behind the other on its validation studies: transfer may harm."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from lesionseg.report.recorded import RecordedRun
from lesionseg.report.words import joined, training_studies


@dataclass(frozen=True)
class ValidationMean:
    """The best validation value of one arm at one size.

    Attributes:
        arm: value of init.
        train_size: training studies.
        mean: over the repeats that both arms have, of each run's highest value, 0 … 1.
        n_repeats: how many these are.
    """

    arm: str
    train_size: int
    mean: float
    n_repeats: int


@dataclass(frozen=True)
class Validation:
    """What validation says of the arms.

    Attributes:
        monitor: the score, as ``val/dice``; empty where the runs do not watch the same one.
        means: a row per size and arm, in that order.
        sentences: where an arm is behind, a sentence for each size; else that it is nowhere; and what could not be
            judged. Empty with one arm.
    """

    monitor: str = ""
    means: tuple[ValidationMean, ...] = ()
    sentences: tuple[str, ...] = ()


def judge_validation(runs: Sequence[RecordedRun], arms: Sequence[str]) -> Validation:
    """See whether the second arm is behind the first on validation, by the score that chose each run's checkpoint.

    It is called negative transfer where the arm that is behind starts from a source's weights and the other does not;
    if that is the first arm, it is the one that is judged.

    Args:
        runs: of these arms.
        arms: values of init, one or two.
    """
    if len(arms) < 2 or not runs:
        return Validation()
    judged, other = _roles(runs, arms)
    monitors = sorted({run.monitor for run in runs})
    undecided = f"Whether {judged} is behind {other} on validation could not be judged"
    if len(monitors) > 1:
        return Validation(sentences=(f"{undecided}: the runs watch {joined(monitors)}.",))
    sizes = {size: _pairs(runs, size, judged, other) for size in sorted({run.train_size for run in runs})}
    lacking = [size for size, pairs in sizes.items() if not pairs.values]
    there = {size: pairs for size, pairs in sizes.items() if pairs.values}
    unknown = f"no repeat has a value of {monitors[0]} in both arms."
    if not there:
        return Validation(monitors[0], sentences=(f"{undecided}: {unknown}",))
    transfer = _has_source(runs, judged) and not _has_source(runs, other)
    said = [
        _behind(size, f"{judged} is behind {other}", monitors[0], pairs, transfer)
        for size, pairs in there.items()
        if pairs.mean[0] < pairs.mean[1]
    ]
    if not said:
        where = f"at {joined(list(there))}" if lacking else "at any size"
        said.append(f"On validation {judged} is not behind {other} {where}.")
    if lacking:
        said.append(f"{undecided} at {joined(lacking)}: {unknown}")
    means = [
        ValidationMean(arm, size, pairs.mean[arm != judged], len(pairs.values))
        for size, pairs in there.items()
        for arm in arms
    ]
    return Validation(monitors[0], tuple(means), tuple(said))


@dataclass(frozen=True)
class _Pairs:
    """The best values of the judged arm and of the other, for each repeat that has both."""

    values: tuple[tuple[float, float], ...]

    @property
    def mean(self) -> tuple[float, float]:
        """Over the repeats."""
        mine, theirs = (fmean(values) for values in zip(*self.values, strict=True))
        return mine, theirs


def _roles(runs: Sequence[RecordedRun], arms: Sequence[str]) -> tuple[str, str]:
    """Which arm is judged, and against which."""
    first, second = arms
    turned = _has_source(runs, first) and not _has_source(runs, second)
    return (first, second) if turned else (second, first)


def _has_source(runs: Sequence[RecordedRun], arm: str) -> bool:
    return any(run.source is not None for run in runs if run.arm == arm)


def _pairs(runs: Sequence[RecordedRun], size: int, judged: str, other: str) -> _Pairs:
    found = {
        arm: {
            run.repeat: run.best_validation
            for run in runs
            if run.arm == arm and run.train_size == size and run.best_validation is not None
        }
        for arm in (judged, other)
    }
    repeats = found[judged].keys() & found[other].keys()
    return _Pairs(tuple((found[judged][repeat], found[other][repeat]) for repeat in sorted(repeats)))


def _behind(size: int, who: str, monitor: str, pairs: _Pairs, transfer: bool) -> str:
    mine, theirs = pairs.mean
    digits = next((count for count in range(2, 6) if f"{mine:.{count}f}" != f"{theirs:.{count}f}"), 6)
    repeats, worse = len(pairs.values), sum(value < reference for value, reference in pairs.values)
    basis = "one repeat" if repeats == 1 else f"mean of {repeats} repeats; behind in {worse} of {repeats}"
    numbers = f"({monitor} {mine:.{digits}f} against {theirs:.{digits}f}, {basis})"
    if transfer:
        return f"Negative transfer at {training_studies(size)}: on validation {who} {numbers}."
    return f"At {training_studies(size)} {who} on validation {numbers}."

"""Whether an arm is behind the reference on its validation studies: transfer may harm."""

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
        mean: over the repeats that all arms have which have any at that size, of each run's highest value, 0 … 1.
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
    """See whether an arm is behind the first one on validation, by the score that chose each run's checkpoint.

    It is called negative transfer where the arm that is behind starts from a source's weights and the other does not;
    if that is the first arm, it is the one that is judged.

    Args:
        runs: of these arms.
        arms: values of init; the first one is the reference.
    """
    if len(arms) < 2 or not runs:
        return Validation()
    pairs = [_roles(runs, arms[0], arm) for arm in arms[1:]]
    monitors = sorted({run.monitor for run in runs})
    if len(monitors) > 1:
        found = f"could not be judged: the runs watch {joined(monitors)}."
        return Validation(sentences=tuple(f"{_whether(*pair)} {found}" for pair in pairs))
    judged = [_judge(runs, monitors[0], *pair) for pair in pairs]
    nowhere = _not_behind([(pair, one.nowhere) for pair, one in zip(pairs, judged, strict=True) if one.nowhere])
    said = [sentence for one in judged for sentence in one.behind]
    unknown = [sentence for one in judged for sentence in one.unknown]
    return Validation(monitors[0], tuple(_means(runs, arms)), (*said, *nowhere, *unknown))


@dataclass(frozen=True)
class _Judged:
    """What is said of one arm: where it is behind, else where it is not, and where that is not known."""

    behind: tuple[str, ...] = ()
    nowhere: str = ""
    unknown: tuple[str, ...] = ()


def _judge(runs: Sequence[RecordedRun], monitor: str, judged: str, other: str) -> _Judged:
    own = [run for run in runs if run.arm in (judged, other)]
    sizes = {size: _pairs(own, size, judged, other) for size in sorted({run.train_size for run in own})}
    lacking = [size for size, pairs in sizes.items() if not pairs.values]
    there = {size: pairs for size, pairs in sizes.items() if pairs.values}
    reason = f"no repeat has a value of {monitor} in both arms."
    if not there:
        return _Judged(unknown=(f"{_whether(judged, other)} could not be judged: {reason}",))
    transfer = _has_source(own, judged) and not _has_source(own, other)
    behind = [
        _behind(size, f"{judged} is behind {other}", monitor, pairs, transfer)
        for size, pairs in there.items()
        if pairs.mean[0] < pairs.mean[1]
    ]
    nowhere = "" if behind else f"at {joined(list(there))}" if lacking else "at any size"
    unknown = [f"{_whether(judged, other)} could not be judged at {joined(lacking)}: {reason}"] if lacking else []
    return _Judged(tuple(behind), nowhere, tuple(unknown))


def _whether(judged: str, other: str) -> str:
    return f"Whether {judged} is behind {other} on validation"


def _not_behind(found: Sequence[tuple[tuple[str, str], str]]) -> list[str]:
    """A sentence for the arms that are nowhere behind the same other one, at the same sizes."""
    groups: dict[tuple[str, str], list[str]] = {}
    for (judged, other), where in found:
        groups.setdefault((other, where), []).append(judged)
    return [
        f"On validation {joined(names)} {'is' if len(names) == 1 else 'are'} not behind {other} {where}."
        for (other, where), names in groups.items()
    ]


def _means(runs: Sequence[RecordedRun], arms: Sequence[str]) -> list[ValidationMean]:
    """Over the repeats that every arm has which has any at the size; nothing where that is one arm alone."""
    means = []
    for size in sorted({run.train_size for run in runs}):
        best = {arm: _best(runs, size, arm) for arm in arms}
        best = {arm: found for arm, found in best.items() if found}
        common = set.intersection(*map(set, best.values())) if len(best) > 1 else set()
        means += [
            ValidationMean(arm, size, fmean(found[repeat] for repeat in common), len(common))
            for arm, found in best.items()
            if common
        ]
    return means


@dataclass(frozen=True)
class _Pairs:
    """The best values of the judged arm and of the other, for each repeat that has both."""

    values: tuple[tuple[float, float], ...]

    @property
    def mean(self) -> tuple[float, float]:
        """Over the repeats."""
        mine, theirs = (fmean(values) for values in zip(*self.values, strict=True))
        return mine, theirs


def _roles(runs: Sequence[RecordedRun], first: str, second: str) -> tuple[str, str]:
    """Which arm is judged, and against which."""
    turned = _has_source(runs, first) and not _has_source(runs, second)
    return (first, second) if turned else (second, first)


def _has_source(runs: Sequence[RecordedRun], arm: str) -> bool:
    return any(run.source is not None for run in runs if run.arm == arm)


def _pairs(runs: Sequence[RecordedRun], size: int, judged: str, other: str) -> _Pairs:
    mine, theirs = (_best(runs, size, arm) for arm in (judged, other))
    return _Pairs(tuple((mine[repeat], theirs[repeat]) for repeat in sorted(mine.keys() & theirs.keys())))


def _best(runs: Sequence[RecordedRun], size: int, arm: str) -> dict[int, float]:
    """Each repeat's best value."""
    return {
        run.repeat: run.best_validation
        for run in runs
        if (run.arm, run.train_size) == (arm, size) and run.best_validation is not None
    }


def _behind(size: int, who: str, monitor: str, pairs: _Pairs, transfer: bool) -> str:
    mine, theirs = pairs.mean
    digits = next((count for count in range(2, 6) if f"{mine:.{count}f}" != f"{theirs:.{count}f}"), 6)
    repeats, worse = len(pairs.values), sum(value < reference for value, reference in pairs.values)
    basis = "one repeat" if repeats == 1 else f"mean of {repeats} repeats; behind in {worse} of {repeats}"
    numbers = f"({monitor} {mine:.{digits}f} against {theirs:.{digits}f}, {basis})"
    if transfer:
        return f"Negative transfer at {training_studies(size)}: on validation {who} {numbers}."
    return f"At {training_studies(size)} {who} on validation {numbers}."

"""Who is trained, validated and tested on: always whole subjects."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from lesionseg.errors import InputError


@dataclass(frozen=True)
class Split:
    """Subjects of one run, and of the dataset it is part of."""

    test: tuple[str, ...]  # the same in every run of an experiment
    validation: tuple[str, ...]  # apart from the test subjects; the same in every run
    train: tuple[str, ...]  # this run's subset of the pool, in the order in which the subset grows
    pool: tuple[str, ...]  # all subjects that a larger training set could take

    @property
    def digest(self) -> str:
        """SHA-256 of the subjects, hexadecimal."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, object]:
        """Every subject by name, their numbers, and the digest."""
        return {**asdict(self), "train_size": len(self.train), "sha256": self.digest}


def make_split(
    subjects: Iterable[str],
    *,
    train_size: int,
    repeat: int,
    test: float | int,
    validation: float | int,
    seed: int,
    fixed: Mapping[str, str] | None = None,
) -> Split:
    """Divide subjects into test, validation and a training subset.

    Each subject has a rank that depends on the seed and its own name alone, so that a subject who is added moves
    no other one's rank, and the result is the same with every version of every library. The training subset of a
    repeat takes the first ``train_size`` of the pool by a rank of that repeat: nested over sizes, another one per
    repeat.

    Args:
        subjects: everybody who has a study for the task.
        train_size: how many subjects to train on.
        repeat: which of the nested sequences of subsets.
        test: a share of the subjects (float) or their number (int).
        validation: likewise.
        seed: of the choice of test and validation subjects.
        fixed: subjects whose part (``train``, ``validation`` or ``test``) the dataset or a file decides. If any
            is fixed to a part, that part is exactly those subjects; ``train`` alone fixed limits the pool.

    Raises:
        InputError: fewer subjects than asked for; the message says how many there are.
    """
    everyone = sorted(set(subjects))
    fixed = {subject: part for subject, part in (fixed or {}).items() if subject in set(everyone)}
    ranked = sorted(everyone, key=lambda subject: _rank(seed, "split", subject))
    free = [subject for subject in ranked if subject not in fixed]
    short: list[str] = []

    def part(name: str, amount: float | int) -> list[str]:
        """Those fixed to a part or, if nobody is, the first of those who are free."""
        named = [subject for subject in ranked if fixed.get(subject) == name]
        if named:
            return named
        count = amount if isinstance(amount, int) else max(1, round(amount * len(everyone)))
        taken, free[:] = free[:count], free[count:]
        if len(taken) < count:
            short.append(name)
        return taken

    tested, validated = part("test", test), part("validation", validation)
    pool = [s for s in ranked if fixed.get(s) == "train"] or free
    if train_size > len(pool) or short or not tested or not validated:
        raise InputError(
            f"train_size={train_size}: there are {len(pool)} subjects to train on ({len(everyone)} in all, of "
            f"which {len(tested)} for the test and {len(validated)} for validation); ask for fewer, or set "
            "split.test and split.validation lower"
        )
    order = sorted(pool, key=lambda subject: _rank(seed, f"repeat {repeat}", subject))
    return Split(tuple(sorted(tested)), tuple(sorted(validated)), tuple(order[:train_size]), tuple(sorted(pool)))


def fixed_parts(named: Mapping[str, Sequence[str]], subjects: Iterable[str], origin: str) -> dict[str, str]:
    """Return subject to part, from the lists ``test`` and ``validation`` of a ``split.json``; who is left can be
    trained on."""
    everyone = set(subjects)
    parts: dict[str, str] = {}
    faults = []
    for part in ("test", "validation"):
        for subject in named.get(part, ()):
            if subject not in everyone:
                faults.append(f"{origin}: {part} names subject {subject!r}, who is not in the dataset")
            elif subject in parts:
                faults.append(f"{origin}: subject {subject!r} is in {parts[subject]} and in {part}")
            parts[subject] = part
    if not parts:
        faults.append(f"{origin}: names no test or validation subject; it needs lists 'test:' and 'validation:'")
    if faults:
        raise InputError(faults)
    return parts


def _rank(seed: int, purpose: str, subject: str) -> str:
    return hashlib.sha256(f"{seed}/{purpose}/{subject}".encode()).hexdigest()

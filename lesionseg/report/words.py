"""How values, lists and counts are written in a sentence."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any


def shown(value: Any) -> str:
    """A setting's value: ``0.001``, ``yes``, ``[1, 2]``, ``{encoder: never}``; None is ``not set``."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {shown(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(shown, value)) + "]"
    return str(value)


def joined(names: Sequence[object]) -> str:
    """``2``, ``2 and 5``, ``2, 5 and 10``.

    Raises:
        ValueError: there is none.
    """
    *first, last = names
    return f"{', '.join(map(str, first))} and {last}" if first else str(last)


def counted(values: Sequence[Hashable]) -> str:
    """How often there is which value, the most frequent first: ``0.01 (4 of 6 runs), 0.003 (2)``, or ``0.01 (6)``."""
    texts = [shown(value) for value in values]
    distinct = sorted(dict.fromkeys(texts), key=lambda text: -texts.count(text))
    if len(distinct) == 1:
        return f"{distinct[0]} ({len(texts)})"
    first, *others = (f"{text} ({texts.count(text)}" for text in distinct)
    return ", ".join([f"{first} of {len(texts)} runs)", *(f"{other})" for other in others)])


def training_studies(size: int) -> str:
    """``1 training study``, ``2 training studies``."""
    return "1 training study" if size == 1 else f"{size} training studies"


def spread(of_arm: Mapping[tuple[int, int], Any]) -> str:
    """A value by size and repeat: ``200``, or ``200 at 2 and 5, 400 at 10``, or ``200 (4 of 6 runs), 400 (2)`` where it
    is not the size that decides."""
    texts = {cell: shown(of_arm[cell]) for cell in sorted(of_arm)}
    distinct = list(dict.fromkeys(texts.values()))
    if len(distinct) == 1:
        return distinct[0]
    sizes = {text: sorted({size for (size, _), other in texts.items() if other == text}) for text in distinct}
    if sum(map(len, sizes.values())) == len({size for size, _ in texts}):
        return ", ".join(f"{text} at {joined(at)}" for text, at in sizes.items())
    return counted(list(texts.values()))

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

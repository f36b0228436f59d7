"""What a finished run tells of itself beside its scores."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class WeightSource:
    """Where the first weights of a run come from.

    Attributes:
        name: of the checkpoint, as it was asked for.
        task: the source's task, or the program that wrote it.
        digest: SHA-256 of the source's weights, hexadecimal.
        share: of the network's values that come from it, 0 … 1.
    """

    name: str
    task: str
    digest: str
    share: float


@dataclass(frozen=True)
class RateSearch:
    """How a run's learning rate was chosen on its validation studies.

    Attributes:
        chosen: the learning rate that it trained with.
        candidates: what it was chosen from.
        steps: that each candidate was tried for.
    """

    chosen: float
    candidates: tuple[float, ...]
    steps: int


@dataclass(frozen=True)
class RecordedRun:
    """One finished run.

    Attributes:
        arm: value of init.
        train_size: training studies.
        repeat: which repeat.
        settings: dotted key to value of all that can change the result, but for ``init`` and the axes of a grid.
        init: the keys of ``init`` that are set, beside where the weights come from.
        source: of the first weights; None: they are drawn from the seed.
        subjects: what tells the same training, validation and test subjects from others; empty if it is not known.
        learning_rate: that the configuration gives; None where nothing is trained.
        search: how another one was chosen; None without a search.
        monitor: the validation score that chooses the best checkpoint, as ``val/dice``.
        best_validation: the highest value that it reached, 0 … 1; None if it never had any.
    """

    arm: str
    train_size: int
    repeat: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    init: Mapping[str, Any] = field(default_factory=dict)
    source: WeightSource | None = None
    subjects: str = ""
    learning_rate: float | None = None
    search: RateSearch | None = None
    monitor: str = ""
    best_validation: float | None = None


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, ``{"a": {"b": 1}}`` as ``{"a.b": 1}``; without what is None or an empty mapping."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        elif value is not None:
            found[f"{prefix}{key}"] = value
    return found

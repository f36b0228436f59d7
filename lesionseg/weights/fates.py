"""What became of one tensor of a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Fate = Literal["loaded", "adapted", "fresh"]


@dataclass(frozen=True)
class ParameterFate:
    """What became of one parameter or buffer of the target network.

    Args:
        name: in the target's state dict.
        fate: taken as it was, taken for some input channels or otherwise made to fit, or left as initialised.
        count: its number of values.
        loaded: how many of them come from the source.
        reason: how it was adapted, or why it is fresh.
    """

    name: str
    fate: Fate
    count: int
    loaded: int
    reason: str = ""


def loaded_share(fates: Sequence[ParameterFate]) -> float:
    """Share of the values that come from the source, 0 to 1; 0 of none."""
    total = sum(fate.count for fate in fates)
    return sum(fate.loaded for fate in fates) / total if total else 0.0

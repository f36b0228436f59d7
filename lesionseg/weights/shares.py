"""What became of each part of a network."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from lesionseg.weights.fates import Fate, ParameterFate
from lesionseg.weights.parts import Parts

OTHER = "other"
"""What belongs to no part."""


@dataclass(frozen=True)
class PartShares:
    """What became of one part of the network.

    Args:
        values: how many the target has there.
        loaded: share of them in tensors that were taken as they were, 0 to 1.
        adapted: in tensors that were taken for some input channels, or otherwise made to fit.
        fresh: in tensors left as initialised.
        skipped: share of the source's values of that part that found no place.
    """

    values: int
    loaded: float
    adapted: float
    fresh: float
    skipped: float

    def __str__(self) -> str:
        """Without what there is none of."""
        shares = {"loaded": self.loaded, "adapted": self.adapted, "fresh": self.fresh}
        words = [f"{share:.1%} {what}" for what, share in shares.items() if share]
        skipped = [f"{self.skipped:.1%} of the source's skipped"] if self.skipped else []
        return ", ".join([*words, *skipped])


def part_shares(
    fates: Sequence[ParameterFate], weights: Mapping[str, Tensor], skipped: Collection[str], parts: Parts
) -> dict[str, PartShares]:
    """The shares of each part that the target has, ``other`` for what belongs to none.

    Args:
        fates: of every tensor of the target.
        weights: the source's.
        skipped: names of those that found no place.
        parts: of the target; the source's names are told by the same ones.
    """
    names = dict.fromkeys(parts.of(fate.name) or OTHER for fate in fates)
    return {
        name: _shares(
            [fate for fate in fates if (parts.of(fate.name) or OTHER) == name],
            {key: value.numel() for key, value in weights.items() if (parts.of(key) or OTHER) == name},
            skipped,
        )
        for name in names
    }


def _shares(fates: Sequence[ParameterFate], source: Mapping[str, int], skipped: Collection[str]) -> PartShares:
    values, there = sum(fate.count for fate in fates), sum(source.values())

    def share(kind: Fate) -> float:
        return sum(fate.count for fate in fates if fate.fate == kind) / max(1, values)

    left = sum(count for name, count in source.items() if name in set(skipped))
    return PartShares(values, share("loaded"), share("adapted"), share("fresh"), left / max(1, there))

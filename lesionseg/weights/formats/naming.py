"""A source's names brought into line with a network's: the prefix that its program puts before them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Prefix:
    """What is taken from the beginning of every name, and what is put there instead.

    Args:
        taken: as ``model.``; names that do not begin with it are left out.
        given: as ``encoder.``, where a part of the network was stored alone.
    """

    taken: str = ""
    given: str = ""

    def renamed(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights under their new names, without those that do not begin so."""
        start = len(self.taken)
        return {self.given + name[start:]: value for name, value in weights.items() if name.startswith(self.taken)}


def find_prefix(weights: Mapping[str, Tensor], names: Mapping[str, Tensor]) -> Prefix | None:
    """The prefix with which the most tensors fit the network by name and shape, then by name.

    Of several as good ones: the one that puts the least before the names, then the longest that is taken away. A part
    of the network that was stored alone is looked for down to the second level of the network's names.

    Args:
        weights: the source's.
        names: the network's state dict.

    Returns:
        None if no name fits.
    """
    fits: Counter[Prefix] = Counter()
    exact: Counter[Prefix] = Counter()
    for given in dict.fromkeys(("", *(start for name in names for start in list(_starts(name))[:2]))):
        for name, value in weights.items():
            for taken in ("", *_starts(name)):
                place = names.get(given + name[len(taken) :])
                if place is not None:
                    prefix = Prefix(taken, given)
                    fits[prefix] += 1
                    exact[prefix] += place.shape == value.shape
    return max(
        fits, key=lambda prefix: (exact[prefix], fits[prefix], -len(prefix.given), len(prefix.taken)), default=None
    )


def drop_second_names(
    weights: Mapping[str, Tensor], names: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors that a network registers under several names, under those that are wanted, or else the first.

    Args:
        weights: tensors that are the same share their memory.
        names: the wanted ones.

    Returns:
        The weights, and the names that were left out.
    """
    found: dict[tuple[object, ...], list[str]] = {}
    for name, value in weights.items():
        place = (value.untyped_storage().data_ptr(), value.storage_offset(), value.shape, value.stride())
        found.setdefault(place if value.numel() else (name,), []).append(name)
    kept = {name for same in found.values() for name in [n for n in same if n in names] or same[:1]}
    return {name: value for name, value in weights.items() if name in kept}, [n for n in weights if n not in kept]


def _starts(name: str) -> Iterator[str]:
    """``a.b.c`` begins with ``a.`` and ``a.b.``."""
    for index, letter in enumerate(name):
        if letter == ".":
            yield name[: index + 1]

"""A network's parts and its layers in order, told by the names of its parameters."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

DEFAULT_PARTS: Mapping[str, Sequence[str]] = {"encoder": ["encoder"], "decoder": ["decoder"], "head": ["head"]}

"""Those of ``lesionseg.models.UNet3D``, and of any network that names its modules so."""


@dataclass(frozen=True)
class Parts:
    """The parts of a network on the way from the image to the logits."""

    # part to the names that its parameters begin with, as ``decoder.seg_layers``; where several fit, the longest counts
    prefixes: Mapping[str, Sequence[str]] = field(default_factory=lambda: DEFAULT_PARTS)

    def of(self, name: str) -> str | None:
        """The part that a parameter belongs to; None if to none."""
        found = self._found(name)
        return found[0] if found else None

    def layers(self, names: Iterable[str]) -> dict[str, int]:
        """Each parameter's layer, from 0 next to the image upwards without gaps.

        A layer is what has, within one part, the same first number in its name: ``decoder.upsamplings.1`` and
        ``decoder.levels.1`` are one, ``encoder.levels.1`` another. Parts follow each other as they are listed, layers
        of a part by their number.
        """
        places = {name: self._place(name) for name in names}
        order = {place: index for index, place in enumerate(sorted(set(places.values())))}
        return {name: order[place] for name, place in places.items()}

    def without(self, names: Iterable[str]) -> list[str]:
        """The parts that none of the names belongs to."""
        present = {self.of(name) for name in names}
        return [part for part in self.prefixes if part not in present]

    def _place(self, name: str) -> tuple[int, int]:
        found = self._found(name)
        if found is None:
            raise ValueError(f"parameter {name!r} belongs to none of the parts {', '.join(self.prefixes)}")
        part, prefix = found
        number = re.search(r"\.(\d+)(?=\.|$)", name[len(prefix) :])
        return list(self.prefixes).index(part), int(number.group(1)) if number else 0

    def _found(self, name: str) -> tuple[str, str] | None:
        fitting = [
            (part, prefix)
            for part, prefixes in self.prefixes.items()
            for prefix in prefixes
            if name == prefix or name.startswith(f"{prefix}.")
        ]
        return max(fitting, key=lambda pair: len(pair[1]), default=None)

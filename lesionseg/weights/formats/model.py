"""A model that another program trained."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from lesionseg.errors import InputError
from lesionseg.weights.formats.card import ForeignCard
from lesionseg.weights.formats.heads import fit_heads
from lesionseg.weights.formats.naming import Prefix, drop_second_names, find_prefix


@dataclass(frozen=True)
class ForeignModel:
    """Weights of another program, with what is known of them.

    Args:
        card: what is known.
        weights: name to values, as in the file or, once fitted, as in the network's state dict.
        digest: SHA-256 over names and values of the file's state dict, hexadecimal; fitting does not change it.
        origin: where it was read from.
        remarks: once fitted, of tensors that were made to fit the network how, and of those that could not be why.
    """

    card: ForeignCard
    weights: Mapping[str, Tensor]
    digest: str
    origin: str
    remarks: Mapping[str, str] = field(default_factory=dict)

    def fitted(self, names: Mapping[str, Tensor]) -> "ForeignModel":
        """The same weights under a network's names, without what stands elsewhere in the file; told in the notes. Of
        nnU-Net's head for background and lesion one lesion map is made, if that is what the network has.

        Args:
            names: the network's state dict.

        Raises:
            InputError: not one name fits, whatever prefix is taken away.
        """
        prefix = find_prefix(self.weights, names)
        if prefix is None:
            raise InputError(
                f"checkpoint {self.origin}: none of its {len(self.weights)} names fits the network: it has "
                f"{_first(self.weights)}, the network {_first(names)}; {self._way_out()}"
            )
        weights, second = drop_second_names(prefix.renamed(self.weights), names)
        left = [name for name in self.weights if not name.startswith(prefix.taken)]
        notes = self.card.notes + _notes(prefix, left, second)
        weights, remarks = fit_heads(weights, names, self.card)
        return replace(self, card=replace(self.card, notes=notes), weights=weights, remarks=remarks)

    def _way_out(self) -> str:
        if self.card.network is None:
            return "choose the model that it was trained with"
        ours = {**self.card.network, "out_channels": 1}  # whatever it told apart there
        return f"set model.network={ours}"


def _notes(prefix: Prefix, left: list[str], second: list[str]) -> tuple[str, ...]:
    notes = []
    if prefix.taken:
        notes.append(f"the prefix {prefix.taken!r} was taken from every name")
    if prefix.given:
        notes.append(f"{prefix.given!r} was put before every name: the file holds that part of the network alone")
    if left:
        notes.append(f"{len(left)} tensors do not begin with {prefix.taken!r} and were left out: {_first(left)}")
    if second:
        notes.append(f"{len(second)} names are second names of the same tensors and were left out: {_first(second)}")
    return tuple(notes)


def _first(names: Mapping[str, Tensor] | list[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:5]) + (", ..." if len(listed) > 5 else "")

"""Weights of other programs, read without running anything in their files."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from lesionseg.errors import InputError
from lesionseg.transfer import nnunet
from lesionseg.transfer.checkpoint import (
    COMPILED,
    METADATA_KEY,
    ForeignCard,
    SourceModel,
    check_weights,
    check_whole,
    own_model,
    weights_digest,
)

KEYS = ("state_dict", "model_state_dict", "network_weights", "model", "network", "net", "weights")
"""Under which programs are known to nest it, in the order in which they are looked at."""
_HEAD = ".seg_layers."
_WAY_OUT = "load it where it was made and save its state dict alone: torch.save(model.state_dict(), 'weights.pt')"


@dataclass(frozen=True)
class Prefix:
    """What is taken from the beginning of every name, and what is put there instead."""

    taken: str = ""  # as ``model.``; names that do not begin with it are left out
    given: str = ""  # as ``encoder.``, where a part of the network was stored alone

    def renamed(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights under their new names, without those that do not begin so."""
        start = len(self.taken)
        return {self.given + name[start:]: value for name, value in weights.items() if name.startswith(self.taken)}


@dataclass(frozen=True)
class ForeignModel:
    """Weights of another program, with what is known of them."""

    card: ForeignCard  # what is known
    weights: Mapping[str, Tensor]  # name to values, as in the file or, once fitted, as in the network's state dict
    digest: str  # SHA-256 over names and values of the file's state dict, hexadecimal; fitting does not change it
    origin: str  # where it was read from
    # once fitted, of tensors that were made to fit the network how, and of those that could not be why
    remarks: Mapping[str, str] = field(default_factory=dict)

    def fitted(self, names: Mapping[str, Tensor]) -> "ForeignModel":
        """The same weights under a network's names, without what stands elsewhere in the file; told in the notes. Of
        nnU-Net's head for background and lesion one lesion map is made, if that is what the network has.
        """
        prefix, rival = find_prefix(self.weights, names)
        if (
            prefix is not None
            and rival is not None
            and _differ(prefix.renamed(self.weights), rival.renamed(self.weights))
        ):
            raise InputError(
                f"checkpoint {self.origin}: holds two sets of weights that fit the network equally, {prefix.taken!r} "
                f"and {rival.taken!r}, such as a student and its average; save the one that counts alone"
            )
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


def load_weights(
    path: Path, *, names: Mapping[str, Tensor] | None = None, trust: bool = False
) -> SourceModel | ForeignModel:
    """Read weights from a checkpoint of ours, of nnU-Net v2, of nnssl or of Lightning, or from a state dict, alone or
    nested, in a file of PyTorch or safetensors.
    """
    content = read(path, trust=trust)
    if isinstance(content, Mapping) and METADATA_KEY in content:
        return own_model(content, path)
    found, notes = find_weights(content, path)
    check_weights(found, path)
    digest = weights_digest(found)
    if any(COMPILED in name for name in found):
        found = {name.replace(COMPILED, ""): value for name, value in found.items()}
        notes += (f"{COMPILED!r}, which torch.compile writes, was taken out of the names",)
    if nnunet.wrote_nnssl(content):
        card, weights = nnunet.describe_nnssl(content, found, path)
    elif nnunet.wrote_nnunet(content):
        card, weights = nnunet.describe_nnunet(content, found, path)
    else:
        lightning = isinstance(content, Mapping) and "pytorch-lightning_version" in content
        program = "safetensors" if is_safetensors(path) else "PyTorch Lightning" if lightning else "PyTorch"
        card, weights = ForeignCard(program, notes=notes), found
    model = ForeignModel(card, weights, digest, str(path))
    return model if names is None else model.fitted(names)


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


def find_weights(content: Any, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of a file, and where they were, in sentences."""
    if isinstance(content, nn.Module):
        return dict(content.state_dict()), (
            f"the file holds a whole {type(content).__name__}, not its state dict alone",
        )
    nested = {key: _tensors(content.get(key)) for key in KEYS} if isinstance(content, Mapping) else {}
    nested = {key: found for key, found in nested.items() if found}
    if nested:
        (key, found), *others = nested.items()
        notes = [f"the weights are those under {key!r}"]
        notes += [
            f"others are there under {other!r} ({len(there)} tensors), and were not looked at"
            for other, there in others
        ]
        return found, tuple(notes)
    plain = _tensors(content)
    if not plain:
        raise InputError(
            f"checkpoint {path}: holds no weights ({_described(content)}); give a state dict, names to tensors, alone "
            f"or under one of {', '.join(KEYS)}"
        )
    return plain, ()


def _tensors(content: Any) -> dict[str, Tensor]:
    """The tensors among the values of a mapping or of a module's state."""
    if isinstance(content, nn.Module):
        return dict(content.state_dict())
    if not isinstance(content, Mapping):
        return {}
    return {
        name: value.detach() for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)
    }


def _described(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f"it is a {type(content).__name__}"
    keys = [str(key) for key in content]
    return f"found {', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''}" if keys else "it is empty"


def _differ(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether any tensor that both have is not the same."""
    return any(not torch.equal(value, other[name]) for name, value in one.items() if name in other)


def find_prefix(weights: Mapping[str, Tensor], names: Mapping[str, Tensor]) -> tuple[Prefix | None, Prefix | None]:
    """The prefix with which the most tensors fit the network by name and shape, then by name; and another one, put
    before the same names, with which as many do.

    Of several as good ones: the one that puts the least before the names, then the longest that is taken away. A part
    of the network that was stored alone is looked for down to the second level of the network's names.
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
    ranked = sorted(fits, key=lambda one: (exact[one], fits[one], -len(one.given), len(one.taken)), reverse=True)
    best, second = (*ranked, None, None)[:2]
    level = best and second and (exact[best], fits[best], best.given) == (exact[second], fits[second], second.given)
    return best, second if level else None


def _starts(name: str) -> Iterator[str]:
    """``a.b.c`` begins with ``a.`` and ``a.b.``."""
    for index, letter in enumerate(name):
        if letter == ".":
            yield name[: index + 1]


def drop_second_names(
    weights: Mapping[str, Tensor], names: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors that a network registers under several names, under those that are wanted, or else the first."""
    found: dict[tuple[object, ...], list[str]] = {}
    for name, value in weights.items():
        place = (value.untyped_storage().data_ptr(), value.storage_offset(), value.shape, value.stride())
        found.setdefault(place if value.numel() else (name,), []).append(name)
    kept = {name for same in found.values() for name in [n for n in same if n in names] or same[:1]}
    return {name: value for name, value in weights.items() if name in kept}, [n for n in weights if n not in kept]


def fit_heads(
    weights: Mapping[str, Tensor], names: Mapping[str, Tensor], card: ForeignCard
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Make one lesion map of a softmax over background and lesion.

    With logits b and l the softmax gives the lesion exp(l) / (exp(b) + exp(l)) = sigmoid(l − b), so that the kernel of
    the lesion minus that of the background, and the biases likewise, give the same probability. Of more classes, or of
    regions, no map is the lesion's; these heads stay as they are, and fit nothing.
    """
    # One map in the network where the source has several, and all else is alike.
    heads = [
        name
        for name, value in weights.items()
        if card.program == "nnU-Net" and _HEAD in name and name in names
        if names[name].shape[0] == 1 < value.shape[0] and names[name].shape[1:] == value.shape[1:]
    ]
    if card.activation != "softmax" or card.classes is None or len(card.classes) != 2:
        return dict(weights), dict.fromkeys(heads, _why_not(card))
    background, lesion = card.classes
    reason = f"the map of {lesion!r} minus that of {background!r}: its sigmoid is the softmax of both"
    fitted = {name: weights[name][1:] - weights[name][:1] for name in heads}
    return {**weights, **fitted}, dict.fromkeys(heads, reason)


def _why_not(card: ForeignCard) -> str:
    if card.classes is None:
        return "no dataset.json tells what the source's maps are"
    what = "regions" if card.activation == "sigmoid" else "classes"
    return f"the source has maps of the {what} {', '.join(card.classes)}, not of background and one lesion"


def read(path: Path, *, trust: bool = False) -> Any:
    """What a file of ``torch.save`` or safetensors holds, on the CPU.

    NumPy's numbers and arrays are let through beside what PyTorch itself holds to be safe: nnU-Net's checkpoints hold
    such scores. They are made of bytes, and no code runs.
    """
    if not path.is_file():
        raise InputError(
            f"checkpoint {path}: there is no such file; give a path, runs:/<run id> or models:/<name>/<version>"
        )
    if is_safetensors(path):
        try:
            return dict(load_file(path, device="cpu"))
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"checkpoint {path}: is no safetensors file that can be read ({error}); copy it again"
            ) from error
    check_whole(path)
    try:
        with safe_globals(_numbers()):
            return torch.load(path, map_location="cpu", weights_only=not trust)
    except (ImportError, AttributeError) as error:  # only what is trusted gets that far
        raise InputError(
            f"checkpoint {path}: holds objects of a program that is not installed here ({error}); install it, or "
            f"{_WAY_OUT}"
        ) from error
    except Exception as error:  # torch raises nearly anything for a file that is not its own
        raise InputError(f"checkpoint {path}: {_refusal(path, error)}") from error


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: eight bytes of length, then a JSON object."""
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def _numbers() -> list[Any]:
    """What NumPy's numbers and arrays are pickled with, under the names of NumPy 1 and 2; none holds objects."""
    scalar, array = np.float64(0).__reduce__()[0], np.zeros(1).__reduce__()[0]
    aliases = [
        (function, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for function, name in ((scalar, "scalar"), (array, "_reconstruct"))
    ]
    kinds = {type(np.dtype(code)) for code in np.typecodes["AllInteger"] + np.typecodes["Float"] + "?"}
    return [*aliases, np.dtype, np.ndarray, *sorted(kinds, key=lambda kind: kind.__name__)]


def _refusal(path: Path, error: Exception) -> str:
    wanted = _wanted(path, error)
    if wanted:
        return (
            f"holds more than weights: it wants {', '.join(wanted[:5])}{', ...' if len(wanted) > 5 else ''}, and such "
            f"a file can run any code; if you trust whoever made it set init.trust=true, or {_WAY_OUT}"
        )
    if "TorchScript" in str(error):
        return (
            "is a TorchScript archive, which holds code beside the weights; save its state dict alone: "
            "torch.save(torch.jit.load(path).state_dict(), 'weights.pt')"
        )
    if isinstance(error, UnpicklingError):
        return "is no checkpoint that can be read (it is none of PyTorch's files); give a state dict or a checkpoint"
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return f"is no checkpoint that can be read ({reason}); give a state dict or a checkpoint"


def _wanted(path: Path, error: Exception) -> list[str]:
    """The classes and functions that the file needs beyond values; empty if it is refused for something else."""
    if not isinstance(error, UnpicklingError):
        return []
    try:
        with safe_globals(_numbers()):
            return sorted(get_unsafe_globals_in_checkpoint(str(path)))
    except Exception:  # only files of today can be looked through whole; the error names the first one of others
        return re.findall(r"[Uu]nsupported (?:class|global)?:? ?GLOBAL ([\w.]+)", str(error))

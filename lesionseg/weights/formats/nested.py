"""Where in a file's content the state dict is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lesionseg.errors import InputError

KEYS = ("state_dict", "model_state_dict", "network_weights", "model", "network", "net", "weights")
"""Under which programs are known to nest it, in the order in which they are looked at."""


def find_weights(content: Any, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of a file, and where they were, in sentences.

    Args:
        content: as read.
        path: for messages.

    Raises:
        InputError: it holds no state dict.
    """
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

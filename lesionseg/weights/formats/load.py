"""Read weights, whoever wrote them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lesionseg.weights.checkpoint import METADATA_KEY, SourceModel, own_model, weights_digest
from lesionseg.weights.formats import nnssl, nnunet
from lesionseg.weights.formats.card import ForeignCard
from lesionseg.weights.formats.model import ForeignModel
from lesionseg.weights.formats.nested import find_weights
from lesionseg.weights.formats.reading import is_safetensors, read


def load_weights(
    path: Path, *, names: Mapping[str, Tensor] | None = None, trust: bool = False
) -> SourceModel | ForeignModel:
    """Read weights from a checkpoint of ours, of nnU-Net v2, of nnssl or of Lightning, or from a state dict, alone or
    nested, in a file of PyTorch or safetensors.

    Args:
        path: the file.
        names: the state dict of the network that they are for, by which a prefix is found; None: the names stay as they
            are, to be fitted later.
        trust: read files that hold more than values; that may run any code in them.

    Returns:
        Ours with its whole card; another program's with what is known of it.

    Raises:
        InputError: no such file, one that cannot be read or holds more than values, no weights in it, or none of a name
            that fits.
    """
    content = read(path, trust=trust)
    if isinstance(content, Mapping) and METADATA_KEY in content:
        return own_model(content, path)
    found, notes = find_weights(content, path)
    digest = weights_digest(found)
    if nnssl.wrote(content):
        card, weights = nnssl.describe(content, found, path)
    elif nnunet.wrote(content):
        card, weights = nnunet.describe(content, found, path)
    else:
        card, weights = ForeignCard(_program(content, path), notes=notes), found
    model = ForeignModel(card, weights, digest, str(path))
    return model if names is None else model.fitted(names)


def _program(content: Any, path: Path) -> str:
    if is_safetensors(path):
        return "safetensors"
    lightning = isinstance(content, Mapping) and "pytorch-lightning_version" in content
    return "PyTorch Lightning" if lightning else "PyTorch"

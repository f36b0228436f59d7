"""Where a network's first weights come from, and what became of them."""

from lesionseg.weights.adapters import add_adapters, is_adapter, merged, plain_name
from lesionseg.weights.checkpoint import (
    METADATA_KEY,
    ModelCard,
    SourceModel,
    load_model,
    store_threshold,
    weights_digest,
)
from lesionseg.weights.differences import differences
from lesionseg.weights.fates import ParameterFate
from lesionseg.weights.formats import ForeignCard, ForeignModel, contrast_name, load_weights
from lesionseg.weights.parts import DEFAULT_PARTS, Parts
from lesionseg.weights.report import TransferReport
from lesionseg.weights.shares import PartShares
from lesionseg.weights.shuffling import shuffled
from lesionseg.weights.stems import ChannelRule
from lesionseg.weights.transfer import from_scratch, transfer

__all__ = [
    "DEFAULT_PARTS",
    "METADATA_KEY",
    "ChannelRule",
    "ForeignCard",
    "ForeignModel",
    "ModelCard",
    "ParameterFate",
    "PartShares",
    "Parts",
    "SourceModel",
    "TransferReport",
    "add_adapters",
    "contrast_name",
    "differences",
    "from_scratch",
    "is_adapter",
    "load_model",
    "load_weights",
    "merged",
    "plain_name",
    "shuffled",
    "store_threshold",
    "transfer",
    "weights_digest",
]

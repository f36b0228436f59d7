"""Where a network's first weights come from, and what became of them."""

from lesionseg.weights.checkpoint import (
    METADATA_KEY,
    ModelCard,
    SourceModel,
    load_model,
    store_threshold,
    weights_digest,
)
from lesionseg.weights.differences import differences
from lesionseg.weights.transfer import ParameterFate, TransferReport, from_scratch, transfer

__all__ = [
    "METADATA_KEY",
    "ModelCard",
    "ParameterFate",
    "SourceModel",
    "TransferReport",
    "differences",
    "from_scratch",
    "load_model",
    "store_threshold",
    "transfer",
    "weights_digest",
]

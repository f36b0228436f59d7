"""Where a network's first weights come from, and what became of them."""

from lesionseg.transfer.checkpoint import (
    METADATA_KEY,
    ForeignCard,
    ModelCard,
    SourceModel,
    contrast_name,
    load_model,
    store_threshold,
    weights_digest,
)
from lesionseg.transfer.finetuning import (
    DEFAULT_PARTS,
    L2SPPenalty,
    ParamPlan,
    Parts,
    add_adapters,
    is_adapter,
    merged,
    plain_name,
    plan_parameters,
    set_trained,
)
from lesionseg.transfer.importers import ForeignModel, load_weights
from lesionseg.transfer.loading import ChannelRule, from_scratch, shuffled, transfer
from lesionseg.transfer.report import ParameterStatus, PartShares, TransferReport, differences

__all__ = [
    "DEFAULT_PARTS",
    "METADATA_KEY",
    "ChannelRule",
    "ForeignCard",
    "ForeignModel",
    "L2SPPenalty",
    "ModelCard",
    "ParamPlan",
    "ParameterStatus",
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
    "plan_parameters",
    "set_trained",
    "shuffled",
    "store_threshold",
    "transfer",
    "weights_digest",
]

"""What ``init`` says of training, put to the network at hand."""

from torch import nn

from lesionseg.config.schema import TrainConfig
from lesionseg.errors import InputError
from lesionseg.training import Regime, Strategy, regimes
from lesionseg.weights import DEFAULT_PARTS, Parts, TransferReport


def check_parts(config: TrainConfig, network: nn.Module) -> None:
    """See that the network has the parts that ``init`` speaks of, and that each parameter is in one where it must be.

    Raises:
        InputError: it has not; the message tells what its parameters are called.
    """
    parts, needed = Parts(config.model.parts or DEFAULT_PARTS), config.init.parts_needed
    names = [name for name, _ in network.named_parameters()]
    modules = dict.fromkeys(name.partition(".")[0] for name in names)
    way_out = (
        "name its parts in model.parts, from the image to the logits, as in "
        f"'+model.parts={{encoder:[down],head:[out]}}'; its parameters begin with {', '.join(modules)}"
    )
    missing = [part for part in needed if part not in parts.prefixes or part in parts.without(names)]
    faults = [
        f"init.{needed[part]}: {config.model.network['_target_']} has no parameters of a part {part!r}; {way_out}"
        for part in missing
    ]
    outside = [name for name in names if parts.of(name) is None]
    if not missing and outside and (needed or config.init.layer_decay != 1):
        what = "init.layer_decay" if config.init.layer_decay != 1 else f"init.{next(iter(needed.values()))}"
        faults.append(
            f"{what}: {len(outside)} parameters of {config.model.network['_target_']} belong to no part, the first is "
            f"{outside[0]}; {way_out}"
        )
    if faults:
        raise InputError(faults)


def from_source(report: TransferReport) -> set[str]:
    """Names of the tensors whose first values are the source's, at least in part."""
    return {fate.name for fate in report.parameters if fate.fate != "fresh"}


def regimes_of(config: TrainConfig, network: nn.Module, report: TransferReport) -> dict[str, Regime]:
    """How each parameter is trained; none of them with ``init.train=false``."""
    init = config.init
    names = [name for name, _ in network.named_parameters()]
    if not init.train:
        return dict.fromkeys(names, Regime(None))
    strategy = Strategy(
        Parts(config.model.parts or DEFAULT_PARTS),
        init.train_from_step(config.trainer.steps),
        init.layer_decay,
        init.l2_sp,
        init.lora_rank > 0,
    )
    return regimes(strategy, names, from_source(report))


def trained_at_first(config: TrainConfig, network: nn.Module, report: TransferReport) -> int:
    """How many values the first step trains.

    Raises:
        InputError: none, although training is wanted.
    """
    plan = regimes_of(config, network, report)
    count = sum(value.numel() for name, value in network.named_parameters() if plan[name].trained_at(0))
    if config.init.train and not count:
        raise InputError(
            f"init={config.init.name}: nothing of {config.model.network['_target_']} is trained at the first step; let "
            "init.train_from give one of its parts 0"
        )
    return count

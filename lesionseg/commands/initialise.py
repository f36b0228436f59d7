"""A run's network with its first weights, and how each of its parameters is trained."""

import glob
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import seed_everything
from torch import nn

from lesionseg.config.schema import TrainConfig
from lesionseg.data.preprocessing import NORMALISATION
from lesionseg.errors import InputError
from lesionseg.instantiate import build
from lesionseg.tracking.artifacts import fetch_weights, is_address
from lesionseg.tracking.mlflow_store import Store
from lesionseg.transfer.checkpoint import ModelCard, SourceModel, contrast_name
from lesionseg.transfer.finetuning import DEFAULT_PARTS, ParamPlan, Parts, add_adapters, plan_parameters
from lesionseg.transfer.importers import ForeignModel, load_weights
from lesionseg.transfer.loading import ChannelRule, from_scratch, readers_of_the_image, shuffled, transfer
from lesionseg.transfer.report import TransferReport, differences

Source = SourceModel | ForeignModel
_BASELINE = {"_target_": "lesionseg.models.IntensityThreshold"}


def model_card(
    config: TrainConfig, train_subjects: Sequence[str], training_images: Mapping[str, Any] | None = None
) -> ModelCard:
    """Return what is to be known of the model that a run trains."""
    task = config.task
    return ModelCard(
        network=_BASELINE if config.init.baseline else config.model.network,
        task=task.name,
        inputs=task.inputs,
        target=task.target,
        spacing=task.spacing,
        patch_size=task.window,
        normalisation=NORMALISATION,
        threshold=config.metrics.threshold,
        matching=task.matching,
        min_lesion_volume=task.min_lesion_volume,
        dataset=config.dataset.name,
        train_subjects=list(train_subjects),
        init=config.init.name,
        training_images=dict(training_images or {}),
    )


def check_network(config: TrainConfig) -> None:
    """See that the network can be made and maps a patch of the task to one lesion map of the same size."""
    task, network = config.task, _build_network(config.model.network)
    inputs, size, divisor = task.inputs, task.patch_size, getattr(network, "divisor", None)
    if divisor and any(side % divisor for side in task.window_size or ()):
        raise InputError(
            f"task.window_size={task.window_size}: model.network takes sides that are multiples of {divisor}"
        )
    patch = torch.zeros(2, len(inputs), *size)
    try:
        with torch.no_grad():
            shape = tuple(network.train()(patch).shape)
    except (RuntimeError, ValueError, TypeError) as error:
        fix = f"make each side a multiple of {divisor}, and twice that at least" if divisor else "choose others"
        raise InputError(
            f"task.patch_size={size}, task.inputs={inputs}: model.network cannot take patches of shape "
            f"{tuple(patch.shape[1:])} ({str(error).splitlines()[0]}); {fix}"
        ) from error
    if shape != (2, 1, *size):
        raise InputError(
            f"model.network: gives {shape} for patches of shape {tuple(patch.shape)}, wanted is one lesion map of the "
            "same size for each; set out_channels to 1"
        )


def source_model(config: TrainConfig, store: Store | None, downloads: Path) -> Source | None:
    """Return the model that the weights come from; None from scratch, whatever ``init.checkpoint`` says then."""
    if config.init.from_scratch or config.init.checkpoint is None:
        return None
    return load_weights(checkpoint_path(config.init.checkpoint, store, downloads), trust=config.init.trust)


def checkpoint_path(checkpoint: str, store: Store | None, downloads: Path) -> Path:
    """Return a checkpoint as a file on this machine."""
    if not is_address(checkpoint):
        path = Path(checkpoint).expanduser().resolve()
        if not path.exists() and glob.has_magic(checkpoint):
            found = sorted(glob.glob(str(path)))
            raise InputError(
                f"checkpoint {checkpoint}: is a pattern, which {len(found)} files fit ({', '.join(found[:3])}); name "
                "one, or sweep over several: init.checkpoint=a.ckpt,b.ckpt"
            )
        return path
    if store is None:
        raise InputError(f"checkpoint {checkpoint}: there is no MLflow store yet to look it up in; give a path")
    return fetch_weights(store, checkpoint, downloads)


def initialise(
    config: TrainConfig, card: ModelCard, seed: int, source: Source | None, test_subjects: Sequence[str] = ()
) -> tuple[nn.Module, TransferReport]:
    """Return the network, its fresh weights drawn from the seed and its other ones from the source, with adapters if it
    is trained by these, and the report of what became of its weights.
    """
    seed_everything(seed, verbose=False)
    init, network = config.init, _build_network(card.network)
    check_parts(config, network)
    if source is None:
        report = from_scratch(network, card.inputs, _parts(config))
    else:
        report = _transfer(config, card, network, source, seed, test_subjects)
        _check_share(config, report)
    if init.lora_rank:
        add_adapters(network, init.lora_rank, _from_source(report))
    plan = parameter_plans(config, network, report)
    trained = sum(value.numel() for name, value in network.named_parameters() if plan[name].trained_at(0))
    if init.trains and not trained:
        raise InputError(
            f"init={init.name}: nothing of {config.model.network['_target_']} is trained at the first step; let "
            "init.train_from give one of its parts 0"
        )
    return network, replace(report, strategy=init.knobs, trained=trained)


def parameter_plans(config: TrainConfig, network: nn.Module, report: TransferReport) -> dict[str, ParamPlan]:
    """Return how each parameter is trained; none of them with ``init.train=false``."""
    init, names = config.init, [name for name, _ in network.named_parameters()]
    if not init.trains:
        return dict.fromkeys(names, ParamPlan(None))
    return plan_parameters(
        names,
        _from_source(report),
        parts=_parts(config),
        train_from=init.train_from_step(config.trainer.steps),
        layer_decay=init.layer_decay,
        l2_sp=init.l2_sp,
        adapters_only=init.lora_rank > 0,
    )


def check_parts(config: TrainConfig, network: nn.Module) -> None:
    """See that the network has the parts that ``init`` speaks of, and each parameter is in one where it must be."""
    parts, needed, target = _parts(config), config.init.parts_needed, config.model.network["_target_"]
    names = [name for name, _ in network.named_parameters()]
    modules = dict.fromkeys(name.partition(".")[0] for name in names)
    fix = (
        "name its parts in model.parts, from the image to the logits, as in "
        f"'+model.parts={{encoder:[down],head:[out]}}'; its parameters begin with {', '.join(modules)}"
    )
    empty = parts.without(names)
    missing = [part for part in needed if part not in parts.prefixes or part in empty]
    faults = [f"init.{needed[part]}: {target} has no parameters of a part {part!r}; {fix}" for part in missing]
    outside = [name for name in names if parts.of(name) is None]
    if not missing and outside and (needed or config.init.layer_decay != 1):
        what = "init.layer_decay" if config.init.layer_decay != 1 else f"init.{next(iter(needed.values()))}"
        faults.append(
            f"{what}: {len(outside)} parameters of {target} belong to no part, the first is {outside[0]}; {fix}"
        )
    if faults:
        raise InputError(faults)


def _parts(config: TrainConfig) -> Parts:
    return Parts(config.model.parts or DEFAULT_PARTS)


def _from_source(report: TransferReport) -> set[str]:
    """Return the tensors whose first values are the source's, at least in part."""
    return {parameter.name for parameter in report.parameters if parameter.status != "fresh"}


def _transfer(
    config: TrainConfig,
    card: ModelCard,
    network: nn.Module,
    source: Source,
    seed: int,
    test_subjects: Sequence[str],
) -> TransferReport:
    init, parts = config.init, _parts(config)
    if isinstance(source, ForeignModel):
        source = source.fitted(network.state_dict())
    source_inputs = _source_inputs(source, init.source_inputs, card.inputs)
    chosen_later = config.metrics.threshold_criterion is not None
    notes = differences(source.card, card, test_subjects, threshold_to_be_chosen=chosen_later)
    rule = ChannelRule(init.new_channels, init.channels)
    faults = rule.faults(card.inputs, source_inputs)
    if faults:
        raise InputError(f"init.channels: {fault}" for fault in faults)
    if init.source_inputs is not None and isinstance(source, ForeignModel):
        count = source.card.channels or _channels_of(network, source.weights, card)
        if count not in (None, len(init.source_inputs)):
            raise InputError(
                f"init.source_inputs={init.source_inputs}: names {len(init.source_inputs)} channels, and the network "
                f"of {source.origin} reads {count}; name them all, in order"
            )
    if init.shuffle:
        notes.append("CONTROL: the source's values were permuted within each tensor (init.shuffle)")
    take = None if init.take == "all" else {name for name in network.state_dict() if parts.of(name) in init.take}
    return transfer(
        network,
        shuffled(source.weights, seed) if init.shuffle else source.weights,
        inputs=card.inputs,
        patch_size=card.patch_size,
        source_inputs=source_inputs,
        source=source.origin,
        source_digest=source.digest,
        source_task=source.card.task if isinstance(source, SourceModel) else source.card.program,
        differences=notes,
        take=take,
        rule=rule,
        parts=parts,
        remarks=source.remarks if isinstance(source, ForeignModel) else None,
    )


def _channels_of(network: nn.Module, weights: Mapping[str, torch.Tensor], card: ModelCard) -> int | None:
    """Return how many channels the source's first kernels read; None where none of them is there."""
    image = next(network.parameters()).new_zeros(1, len(card.inputs), *card.patch_size)
    found = [weights[name].shape[1] for name in readers_of_the_image(network, image) if name in weights]
    return int(found[0]) if found else None


def _source_inputs(source: Source, told: Sequence[str] | None, inputs: Sequence[str]) -> list[str]:
    """Return the source's channels in order, called as the task calls them where only capitals differ, or where another
    program's name for a contrast is a usual one."""
    names = told or source.card.inputs
    if names is None:
        count = source.card.channels if isinstance(source, ForeignModel) else None
        which = f"{count} input channels" if count else "input channels"
        raise InputError(
            f"init.checkpoint={source.origin}: does not tell its {which}; name them in order, such as "
            "init.source_inputs=[flair]"
        )
    known = {name.casefold(): name for name in inputs}
    if told is None and isinstance(source, ForeignModel):
        known = {**{contrast_name(name): name for name in inputs}, **known}
    return [known.get(name.casefold(), name) for name in names]


def _check_share(config: TrainConfig, report: TransferReport) -> None:
    """Raise InputError unless enough was loaded of what was to be, and all of it where nothing is trained."""
    init = config.init
    what = "the network's values" if init.take == "all" else f"the values of its {' and '.join(init.take)}"
    if report.taken_share < init.min_loaded:
        raise InputError(
            f"init.checkpoint={report.source}: only {report.taken_share:.1%} of {what} come from it, "
            f"init.min_loaded asks for {init.min_loaded:.0%}; choose the source's model, or a lower share\n"
            + report.summary()
        )
    fresh = [parameter.name for parameter in report.parameters if parameter.status == "fresh"]
    if fresh and not init.train:
        named = ", ".join(fresh[:3]) + (", ..." if len(fresh) > 3 else "")
        raise InputError(
            f"init.checkpoint={report.source}: init.train=false scores the weights as they are, and {len(fresh)} of "
            f"the network's tensors do not come from it ({named}); choose the source's model and channels, or a "
            "strategy that trains"
        )


def _build_network(spec: dict[str, Any]) -> nn.Module:
    try:
        network: nn.Module = build(spec, nn.Module)
    except ValueError as error:
        raise InputError(f"model.network: {error}") from error
    return network

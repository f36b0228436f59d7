"""A run's network with its first weights."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import seed_everything
from torch import nn

from lesionseg.build import build
from lesionseg.config.schema import TrainConfig
from lesionseg.data.prepare import NORMALISATION
from lesionseg.errors import InputError
from lesionseg.runs.strategy import check_parts, from_source, trained_at_first
from lesionseg.tracking import Store, fetch_weights, is_address
from lesionseg.weights import (
    DEFAULT_PARTS,
    ChannelRule,
    ForeignModel,
    ModelCard,
    Parts,
    SourceModel,
    TransferReport,
    add_adapters,
    contrast_name,
    differences,
    from_scratch,
    load_weights,
    shuffled,
    transfer,
)

Source = SourceModel | ForeignModel


def model_card(config: TrainConfig, train_subjects: list[str]) -> ModelCard:
    """What is to be known of the model that a run trains."""
    task = config.task
    return ModelCard(
        network=config.model.network,
        task=task.name,
        inputs=task.inputs,
        target=task.target,
        spacing=task.spacing,
        patch_size=task.patch_size,
        normalisation=NORMALISATION,
        threshold=config.metrics.threshold,
        matching=task.matching,
        min_lesion_volume=task.min_lesion_volume,
        dataset=config.dataset.name,
        train_subjects=train_subjects,
        init=config.init.name,
    )


def check_network(config: TrainConfig) -> None:
    """See that the network can be made and maps a patch of the task to one lesion map of the same size.

    Raises:
        InputError: it cannot, or does not.
    """
    inputs, size = config.task.inputs, config.task.patch_size
    network = _made(config.model.network)
    patch = torch.zeros(2, len(inputs), *size)
    try:
        with torch.no_grad():
            shape = tuple(network.train()(patch).shape)
    except (RuntimeError, ValueError, TypeError) as error:
        divisor = getattr(network, "divisor", None)
        way_out = f"make each side a multiple of {divisor}, and twice that at least" if divisor else "choose others"
        raise InputError(
            f"task.patch_size={size}, task.inputs={inputs}: model.network cannot take patches of shape "
            f"{tuple(patch.shape[1:])} ({str(error).splitlines()[0]}); {way_out}"
        ) from error
    if shape != (2, 1, *size):
        raise InputError(
            f"model.network: gives {shape} for patches of shape {tuple(patch.shape)}, wanted is one lesion map of the "
            "same size for each; set out_channels to 1"
        )


def initialise(
    config: TrainConfig,
    card: ModelCard,
    seed: int,
    source: Source | None,
    test_subjects: Sequence[str] = (),
) -> tuple[nn.Module, TransferReport]:
    """The network, its fresh weights drawn from the seed, its other ones from the source, with the adapters that it is
    trained by.

    Raises:
        InputError: the network cannot be made or lacks a part, or too little of it comes from the source.
    """
    seed_everything(seed, verbose=False)
    network = _made(card.network)
    check_parts(config, network)
    parts = Parts(config.model.parts or DEFAULT_PARTS)
    if source is None:
        report = from_scratch(network, card.inputs, parts)
    else:
        report = _transferred(config, card, network, source, seed, test_subjects)
        _check_share(config, report)
    if config.init.lora_rank:
        add_adapters(network, config.init.lora_rank, from_source(report))
    trained = trained_at_first(config, network, report)
    return network, replace(report, strategy=config.init.knobs, trained=trained)


def _transferred(
    config: TrainConfig,
    card: ModelCard,
    network: nn.Module,
    source: Source,
    seed: int,
    test_subjects: Sequence[str],
) -> TransferReport:
    init, parts = config.init, Parts(config.model.parts or DEFAULT_PARTS)
    if isinstance(source, ForeignModel):
        source = source.fitted(network.state_dict())
    source_inputs = _inputs_of(source, init.source_inputs, card.inputs)
    notes = differences(
        source.card, card, test_subjects, threshold_to_be_chosen=config.metrics.threshold_criterion is not None
    )
    rule = ChannelRule(init.new_channels, init.channels)
    faults = rule.faults(card.inputs, source_inputs)
    if faults:
        raise InputError(f"init.channels: {fault}" for fault in faults)
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


def _inputs_of(source: Source, told: Sequence[str] | None, inputs: Sequence[str]) -> list[str]:
    """The source's channels in order, called as the task calls them where only capitals differ, or where another
    program's name for a contrast is a usual one.

    Raises:
        InputError: neither the source tells them nor ``init.source_inputs``.
    """
    names = told or source.card.inputs
    if names is None:
        count = source.card.channels if isinstance(source, ForeignModel) else None
        raise InputError(
            f"init.checkpoint={source.origin}: does not tell its {count or ''} input channels".replace("  ", " ")
            + "; name them in order, such as init.source_inputs=[flair]"
        )
    known = {name.casefold(): name for name in inputs}
    if told is None and isinstance(source, ForeignModel):
        known = {**{contrast_name(name): name for name in inputs}, **known}
    return [known.get(name.casefold(), name) for name in names]


def _check_share(config: TrainConfig, report: TransferReport) -> None:
    """See that enough was loaded of what was to be, and all of it where nothing is trained.

    Raises:
        InputError: it was not; with the report.
    """
    init = config.init
    what = "the network's values" if init.take == "all" else f"the values of its {' and '.join(init.take)}"
    if report.taken_share < init.min_loaded:
        raise InputError(
            f"init.checkpoint={report.source}: only {report.taken_share:.1%} of {what} come from it, "
            f"init.min_loaded asks for {init.min_loaded:.0%}; choose the source's model, or a lower share\n"
            + report.summary()
        )
    fresh = [fate.name for fate in report.parameters if fate.fate == "fresh"]
    if fresh and not init.train:
        named = ", ".join(fresh[:3]) + (", ..." if len(fresh) > 3 else "")
        raise InputError(
            f"init.checkpoint={report.source}: init.train=false scores the weights as they are, and {len(fresh)} of "
            f"the network's tensors do not come from it ({named}); choose the source's model and channels, or a "
            "strategy that trains"
        )


def source_model(config: TrainConfig, store: Store | None, downloads: Path) -> Source | None:
    """The model that the weights come from; None from scratch, whatever ``init.checkpoint`` says then.

    Raises:
        InputError: there is no such checkpoint, or it is none.
    """
    if config.init.from_scratch or config.init.checkpoint is None:
        return None
    return load_weights(checkpoint_path(config.init.checkpoint, store, downloads), trust=config.init.trust)


def checkpoint_path(checkpoint: str, store: Store | None, downloads: Path) -> Path:
    """A checkpoint as a file on this machine.

    Args:
        checkpoint: a path, ``runs:/<run id>``, ``models:/<name>/<version>`` or ``models:/<name>@<alias>``.
        store: where runs are looked up; None where none can be named yet.
        downloads: where what is fetched is put.

    Raises:
        InputError: there is no such run or model, or no one file of weights in it.
    """
    if not is_address(checkpoint):
        return Path(checkpoint).expanduser().resolve()
    if store is None:
        raise InputError(f"checkpoint {checkpoint}: there is no MLflow store yet to look it up in; give a path")
    return fetch_weights(store, checkpoint, downloads)


def _made(spec: dict[str, Any]) -> nn.Module:
    try:
        network: nn.Module = build(spec, nn.Module)
    except ValueError as error:
        raise InputError(f"model.network: {error}") from error
    return network

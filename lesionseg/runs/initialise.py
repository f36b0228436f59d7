"""A run's network with its first weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import seed_everything
from torch import nn

from lesionseg.build import build
from lesionseg.config.schema import TrainConfig
from lesionseg.data.prepare import NORMALISATION
from lesionseg.errors import InputError
from lesionseg.tracking import Store, fetch_artifact
from lesionseg.weights import (
    ModelCard,
    SourceModel,
    TransferReport,
    differences,
    from_scratch,
    load_model,
    transfer,
)


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
    source: SourceModel | None,
    test_subjects: Sequence[str] = (),
) -> tuple[nn.Module, TransferReport]:
    """The network, its fresh weights drawn from the seed, its other ones from the source.

    Raises:
        InputError: the network cannot be made, or too little of it comes from the source.
    """
    seed_everything(seed, verbose=False)
    network = _made(card.network)
    if source is None:
        return network, from_scratch(network, card.inputs)
    report = transfer(
        network,
        source.weights,
        inputs=card.inputs,
        patch_size=card.patch_size,
        source_inputs=source.card.inputs,
        source=source.origin,
        source_digest=source.digest,
        source_task=source.card.task,
        differences=differences(source.card, card, test_subjects),
    )
    if report.loaded_share < config.init.min_loaded:
        raise InputError(
            f"init.checkpoint={source.origin}: only {report.loaded_share:.1%} of the network's values come from it, "
            f"init.min_loaded asks for {config.init.min_loaded:.0%}; choose the source's model, or a lower share\n"
            + report.summary()
        )
    return network, report


def source_model(config: TrainConfig, store: Store | None, downloads: Path) -> SourceModel | None:
    """The model that the weights come from; None from scratch, whatever ``init.checkpoint`` says then.

    Raises:
        InputError: there is no such checkpoint, or it is none.
    """
    if config.init.strategy == "scratch" or config.init.checkpoint is None:
        return None
    return load_model(checkpoint_path(config.init.checkpoint, store, downloads))


def checkpoint_path(checkpoint: str, store: Store | None, downloads: Path) -> Path:
    """A checkpoint as a file on this machine.

    Args:
        checkpoint: a path, or ``runs:/<run id>``.
        store: where runs are looked up; None where none can be named yet.
        downloads: where a run's checkpoint is put.

    Raises:
        InputError: the run does not exist or left no checkpoint.
    """
    if not checkpoint.startswith("runs:/"):
        return Path(checkpoint).expanduser().resolve()
    run_id = checkpoint.removeprefix("runs:/").split("/")[0]
    name = "checkpoints/best.ckpt"
    folder = downloads / run_id
    if (folder / name).is_file():
        return folder / name
    found = fetch_artifact(store, run_id, name, folder) if store else None
    if found is None:
        raise InputError(
            f"checkpoint {checkpoint}: there is no such run with a {name} in {store.uri if store else 'the store'}; "
            "look the run id up in lesionseg ui, or give a path"
        )
    return found


def _made(spec: dict[str, Any]) -> nn.Module:
    try:
        network: nn.Module = build(spec, nn.Module)
    except ValueError as error:
        raise InputError(f"model.network: {error}") from error
    return network

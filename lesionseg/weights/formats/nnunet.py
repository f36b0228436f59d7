"""Checkpoints of nnU-Net v2 (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z), with the plans they were made by.

``nnUNetTrainer.save_checkpoint`` writes ``network_weights``, ``optimizer_state``, ``grad_scaler_state``, ``logging``,
``_best_ema``, ``current_epoch``, ``init_args`` (plans, configuration, fold, dataset_json, device), ``trainer_name`` and
``inference_allowed_mirroring_axes`` (nnunetv2 2.8.1, training/nnUNetTrainer/nnUNetTrainer.py); plans.json and
dataset.json lie in the folder above that of the fold.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lesionseg.errors import InputError
from lesionseg.weights.formats.architecture import network_spec
from lesionseg.weights.formats.axes import DEFAULT, described, to_xyz, turned
from lesionseg.weights.formats.card import ForeignCard
from lesionseg.weights.formats.contrasts import read_channels


def wrote(content: Any) -> bool:
    """Whether a file's content is a checkpoint of nnU-Net v2."""
    return isinstance(content, Mapping) and "network_weights" in content and "trainer_name" in content


def describe(
    content: Mapping[str, Any], weights: Mapping[str, Tensor], path: Path
) -> tuple[ForeignCard, dict[str, Tensor]]:
    """What the plans say, and the weights with their axes in our order.

    Args:
        content: of the file.
        weights: its ``network_weights``.
        path: of the file; plans.json and dataset.json are looked for in its folder and in the one above.

    Raises:
        InputError: the plans or the dataset's description cannot be understood.
    """
    arguments = content.get("init_args") or {}
    plans = arguments.get("plans") or _beside(path, "plans.json")
    dataset = arguments.get("dataset_json") or _beside(path, "dataset.json") or {}
    folder = path.parent if "__" in path.parent.name else path.parent.parent
    name = arguments.get("configuration") or folder.name.rpartition("__")[2]
    notes = [f"trained by nnU-Net's {content['trainer_name']}"]
    if not plans:
        order = to_xyz(DEFAULT)
        notes.append(
            "WARNING: there are no plans in it, and no plans.json in its folder or the one above: spacing, patch size, "
            "normalisation and channels are not known"
        )
        return ForeignCard("nnU-Net", notes=(*notes, described(order))), turned(weights, order)
    try:
        order = to_xyz(plans.get("transpose_forward", DEFAULT))
        card = _card(plans, _configuration(plans, name), dataset, weights, order, notes)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"checkpoint {path}: nnU-Net's plans for configuration {name!r} cannot be understood "
            f"({type(error).__name__}: {error}); give its state dict alone"
        ) from error
    return card, turned(weights, order)


def normalisation(schemes: Sequence[str], masked: Sequence[bool]) -> str:
    """nnU-Net's normalisation of each channel in words, once if all are alike."""
    words = [
        scheme + (" within the nonzero mask" if within else " over the whole image")
        for scheme, within in zip(schemes, masked, strict=True)
    ]
    return ", ".join(dict.fromkeys(words))


def _card(
    plans: Mapping[str, Any],
    configuration: Mapping[str, Any],
    dataset: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    order: list[int],
    notes: list[str],
) -> ForeignCard:
    classes = _classes(dataset)
    inputs, read = _inputs(dataset, configuration)
    notes += [read] if read else []
    spacing, patch_size = configuration["spacing"], configuration["patch_size"]
    if len(patch_size) == 3:
        notes.append(described(order))
        spacing, patch_size = [spacing[axis] for axis in order], [patch_size[axis] for axis in order]
    else:
        notes.append(f"WARNING: it is a {len(patch_size)}D network, and its kernels fit none of ours")
    heads = [value for name, value in weights.items() if ".seg_layers." in name]
    maps = len(heads[0] if heads else classes or ())
    network, reason = network_spec(configuration, channels=len(inputs or ()), maps=maps, order=order)
    if reason:
        notes.append(f"its network cannot be made here: {reason}")
    return ForeignCard(
        program="nnU-Net",
        network=network if inputs and maps else None,
        channels=len(inputs) if inputs else None,
        inputs=inputs,
        classes=classes,
        activation=None if classes is None else "sigmoid" if _has_regions(dataset) else "softmax",
        spacing=[float(side) for side in spacing],
        patch_size=[int(side) for side in patch_size],
        normalisation=normalisation(configuration["normalization_schemes"], configuration["use_mask_for_norm"]),
        dataset=plans.get("dataset_name"),
        notes=tuple(notes),
    )


def _configuration(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A configuration with what it inherits, as nnU-Net's PlansManager resolves it."""
    found: dict[str, Any] = {}
    visited: list[str] = []
    while name not in visited:
        visited.append(name)
        found = {**plans["configurations"][name], **found}
        name = plans["configurations"][name].get("inherits_from", name)
    return found


def _inputs(dataset: Mapping[str, Any], configuration: Mapping[str, Any]) -> tuple[list[str] | None, str]:
    """Names of the input channels in our words, and how they were read; those of a cascade are followed by the labels
    of the stage before."""
    numbered = dataset.get("channel_names") or dataset.get("modality")
    if not numbered:
        return None, ""
    names, read = read_channels([str(numbered[number]) for number in sorted(numbered, key=int)])
    if configuration.get("previous_stage"):
        names += [f"{configuration['previous_stage']}.{label}" for label in (_classes(dataset) or [])[1:]]
    return names, read


def _classes(dataset: Mapping[str, Any]) -> list[str] | None:
    """Names of the maps that the network gives: every label with the background, or each region without it."""
    labels = {label: value for label, value in dataset.get("labels", {}).items() if label != "ignore"}
    if not labels:
        return None
    if not _has_regions(dataset):
        return sorted(labels, key=lambda label: int(labels[label]))
    return [label for label, value in labels.items() if value not in (0, [0], (0,))]


def _has_regions(dataset: Mapping[str, Any]) -> bool:
    return any(isinstance(value, list | tuple) for value in dataset.get("labels", {}).values())


def _beside(path: Path, name: str) -> Any:
    for folder in (path.parent, path.parent.parent):
        if (folder / name).is_file():
            try:
                return json.loads((folder / name).read_text(encoding="utf-8"))
            except ValueError as error:
                raise InputError(f"{folder / name} is not JSON ({error}); copy it again") from error
    return None

"""Checkpoints of nnU-Net v2 and of nnssl: what their plans say, the network in our terms, the axes in our order."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lesionseg.errors import InputError
from lesionseg.transfer.checkpoint import ForeignCard, read_channels

DEFAULT = (0, 1, 2)
_TARGET = "lesionseg.models.DynamicUNet"
_BLOCKS = {"ResidualEncoderUNet": "residual", "PlainConvUNet": "plain"}
_FIXED: Mapping[str, Any] = {
    "conv_op": "Conv3d",
    "norm_op": "InstanceNorm3d",
    "norm_op_kwargs": {"eps": 1e-05, "affine": True},
    "conv_bias": True,
    "dropout_op": None,
    "dropout_op_kwargs": None,
    "nonlin": "LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
    "nonlin_first": False,
}
_VARIED = (
    "n_stages",
    "features_per_stage",
    "kernel_sizes",
    "strides",
    "n_blocks_per_stage",
    "n_conv_per_stage",
    "n_conv_per_stage_decoder",
    "deep_supervision",
)
RESENC_L: Mapping[str, Any] = {
    "widths": [32, 64, 128, 256, 320, 320],
    "block": "residual",
    "blocks": [1, 3, 4, 6, 6, 6],
    "decoder_convolutions": [1, 1, 1, 1, 1],
    "kernels": [[3, 3, 3]] * 6,
    "strides": [[1, 1, 1]] + [[2, 2, 2]] * 5,
}
"""nnssl's ``get_res_enc_l`` (src/nnssl/architectures/architecture_registry.py)."""
PLAN = "nnssl_adaptation_plan"
_ENCODER, _STEM = "encoder.stages", "encoder.stem"
_WAY_OUT = "give a checkpoint as nnssl publishes it, or its state dict alone"


def wrote_nnunet(content: Any) -> bool:
    """Whether a file's content is a checkpoint of nnU-Net v2."""
    return isinstance(content, Mapping) and "network_weights" in content and "trainer_name" in content


def describe_nnunet(
    content: Mapping[str, Any], weights: Mapping[str, Tensor], path: Path
) -> tuple[ForeignCard, dict[str, Tensor]]:
    """What the plans say, and the weights with their axes in our order."""
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
        return ForeignCard("nnU-Net", notes=(*notes, axes_note(order))), turned(weights, order)
    try:
        order = to_xyz(plans.get("transpose_forward", DEFAULT))
        card = _card_of_nnunet(plans, _configuration(plans, name), dataset, weights, order, notes)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"checkpoint {path}: nnU-Net's plans for configuration {name!r} cannot be understood "
            f"({type(error).__name__}: {error}); give its state dict alone"
        ) from error
    return card, turned(weights, order)


def _card_of_nnunet(
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
        notes.append(axes_note(order))
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


def normalisation(schemes: Sequence[str], masked: Sequence[bool]) -> str:
    """nnU-Net's normalisation of each channel in words, once if all are alike."""
    words = [
        scheme + (" within the nonzero mask" if within else " over the whole image")
        for scheme, within in zip(schemes, masked, strict=True)
    ]
    return ", ".join(dict.fromkeys(words))


def wrote_nnssl(content: Any) -> bool:
    """Whether a file's content is a checkpoint that nnssl made ready for others."""
    return isinstance(content, Mapping) and "network_weights" in content and PLAN in content


def describe_nnssl(
    content: Mapping[str, Any], weights: Mapping[str, Tensor], path: Path
) -> tuple[ForeignCard, dict[str, Tensor]]:
    """What the adaptation plan says, and the encoder's weights under the names of the network of that family.

    Their axes are in our order.
    """
    plan = content[PLAN]
    try:
        name = plan["architecture_plans"]["arch_class_name"]
        pretraining = plan.get("pretrain_plan") or {}
        order = to_xyz(pretraining.get("transpose_forward", DEFAULT))
        places = {plan["key_to_encoder"]: _ENCODER, plan["key_to_stem"]: _STEM}
        card = _card_of_nnssl(plan, name, pretraining, order)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"checkpoint {path}: its {PLAN} cannot be understood ({type(error).__name__}: {error}); {_WAY_OUT}"
        ) from error
    encoder = _encoder(weights, places if "Res" in name else {place: place for place in places})
    if not encoder:
        first = ", ".join(list(weights)[:5])
        raise InputError(
            f"checkpoint {path}: its {PLAN} says that the encoder is under {' and '.join(places)}, and no name begins "
            f"so (found {first}, ...); {_WAY_OUT}"
        )
    return card, turned(encoder, order)


def _card_of_nnssl(plan: Mapping[str, Any], name: str, pretraining: Mapping[str, Any], order: list[int]) -> ForeignCard:
    configuration: Mapping[str, Any] = next(iter((pretraining.get("configurations") or {}).values()), {})
    channels = int(plan.get("pretrain_num_input_channels", 1))
    spacing, patch_size = configuration.get("spacing"), configuration.get("patch_size")
    schemes = configuration.get("normalization_schemes")
    notes = [
        "pretrained by nnssl without labels; its encoder and stem were taken, and what it reconstructs with was not",
        f"its {channels} input channel{'s' if channels > 1 else ''} took whatever contrast there was, and has no name",
        axes_note(order),
    ]
    arguments = plan["architecture_plans"].get("arch_kwargs")
    if arguments:
        architecture = {"network_class_name": name, "arch_kwargs": arguments}
        network, reason = network_spec({"architecture": architecture}, channels=channels, maps=1, order=order)
    else:
        network = described(channels, 1, **RESENC_L) if name == "ResEncL" else None
        reason = "" if network else f"{name} is not ResEncL"
    if reason:
        notes.append(f"its network cannot be made here: {reason}")
    return ForeignCard(
        program="nnssl",
        network=network,
        channels=channels,
        spacing=[float(spacing[axis]) for axis in order] if spacing else None,
        patch_size=[int(patch_size[axis]) for axis in order] if patch_size else None,
        normalisation=normalisation(schemes, configuration["use_mask_for_norm"]) if schemes else None,
        dataset=pretraining.get("dataset_name"),
        notes=tuple(notes),
    )


def _encoder(weights: Mapping[str, Tensor], places: Mapping[str, str]) -> dict[str, Tensor]:
    return {
        there + name[len(here) :]: value
        for name, value in weights.items()
        for here, there in places.items()
        if name == here or name.startswith(f"{here}.")
    }


def described(channels: int, maps: int, **arguments: Any) -> dict[str, Any]:
    """A network of that family: ``_target_`` and arguments."""
    return {"_target_": _TARGET, "in_channels": channels, "out_channels": maps, **arguments}


def network_spec(
    configuration: Mapping[str, Any], *, channels: int, maps: int, order: Sequence[int]
) -> tuple[dict[str, Any] | None, str]:
    """A configuration's network, with its axes in another order."""
    architecture = configuration.get("architecture") or _of_old(configuration)
    name = architecture["network_class_name"].rpartition(".")[2]
    arguments = architecture["arch_kwargs"]
    if name not in _BLOCKS:
        return None, f"{architecture['network_class_name']} is none of {', '.join(_BLOCKS)}"
    others = [
        f"{key}={value!r}"
        for key, value in arguments.items()
        if key not in _VARIED and _short(value) != _FIXED.get(key)
    ]
    if others:
        return None, f"{_TARGET} has no {', '.join(others)}"
    levels = arguments["n_stages"]
    return described(
        channels,
        maps,
        widths=_each(arguments["features_per_stage"], levels),
        block=_BLOCKS[name],
        blocks=_each(arguments["n_blocks_per_stage" if name == "ResidualEncoderUNet" else "n_conv_per_stage"], levels),
        decoder_convolutions=_each(arguments["n_conv_per_stage_decoder"], levels - 1),
        kernels=[[int(sides[axis]) for axis in order] for sides in arguments["kernel_sizes"]],
        strides=[[int(sides[axis]) for axis in order] for sides in arguments["strides"]],
    ), ""


def _each(value: Any, count: int) -> list[int]:
    return [int(entry) for entry in value] if isinstance(value, list | tuple) else [int(value)] * count


def _short(value: Any) -> Any:
    """``torch.nn.modules.conv.Conv3d`` is ``Conv3d``."""
    return value.rpartition(".")[2] if isinstance(value, str) else value


def _of_old(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """The architecture that nnU-Net's ConfigurationManager reads from plans of before 2.4."""
    name = configuration["UNet_class_name"]
    blocks = configuration["n_conv_per_stage_encoder"]
    width, most = configuration["UNet_base_num_features"], configuration["unet_max_num_features"]
    return {
        "network_class_name": name,
        "arch_kwargs": {
            "n_stages": len(blocks),
            "features_per_stage": [min(width * 2**level, most) for level in range(len(blocks))],
            "kernel_sizes": configuration["conv_kernel_sizes"],
            "strides": configuration["pool_op_kernel_sizes"],
            "n_conv_per_stage" if name == "PlainConvUNet" else "n_blocks_per_stage": blocks,
            "n_conv_per_stage_decoder": configuration["n_conv_per_stage_decoder"],
        },
    }


def to_xyz(transpose_forward: Sequence[int]) -> list[int]:
    """Where, among the axes of a network of nnU-Net, x, y and z are.

    nnU-Net reads images as (z, y, x) and then puts the axes in the order ``transpose_forward``.
    """
    return [list(transpose_forward).index(axis) for axis in (2, 1, 0)]


def axes_note(order: Sequence[int]) -> str:
    """What was done to the axes, in a sentence."""
    axes = "".join("xyz"[order.index(axis)] for axis in range(3))
    return f"its axes are {axes} and were put in our order xyz, in the kernels and in what its plans say"


def turned(weights: Mapping[str, Tensor], order: Sequence[int]) -> dict[str, Tensor]:
    """Kernels of three dimensions with their axes in another order, others as they are; nothing is copied.

    A network with turned kernels gives for a turned image the turned map.
    """
    axes = (0, 1, *(2 + axis for axis in order))
    return {name: value.permute(axes) if value.ndim == 5 else value for name, value in weights.items()}

"""Encoders that nnssl pretrained without labels, as those of OpenMind (Wald et al. 2024, arXiv 2412.17041).

A published checkpoint holds ``network_weights`` and ``nnssl_adaptation_plan``: ``architecture_plans`` (arch_class_name,
arch_kwargs), ``pretrain_plan`` (configurations with spacing, patch_size, normalization_schemes), ``key_to_encoder``,
``key_to_stem``, ``keys_to_in_proj``, ``key_to_lpe``, ``pretrain_num_input_channels``,
``recommended_downstream_patchsize`` and ``citations``. What it reconstructs with is not brought along, as in nnU-Net's
``PretrainedTrainer`` for these checkpoints, which loads encoder and stem alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lesionseg.errors import InputError
from lesionseg.weights.formats.architecture import RESENC_L, described, network_spec
from lesionseg.weights.formats.axes import DEFAULT, to_xyz, turned
from lesionseg.weights.formats.axes import described as axes
from lesionseg.weights.formats.card import ForeignCard
from lesionseg.weights.formats.nnunet import normalisation

PLAN = "nnssl_adaptation_plan"
_ENCODER, _STEM = "encoder.stages", "encoder.stem"
_WAY_OUT = "give a checkpoint as nnssl publishes it, or its state dict alone"


def wrote(content: Any) -> bool:
    """Whether a file's content is a checkpoint that nnssl made ready for others."""
    return isinstance(content, Mapping) and "network_weights" in content and PLAN in content


def describe(
    content: Mapping[str, Any], weights: Mapping[str, Tensor], path: Path
) -> tuple[ForeignCard, dict[str, Tensor]]:
    """What the adaptation plan says, and the encoder's weights under the names of the network of that family.

    Their axes are in our order.

    Args:
        content: of the file.
        weights: its ``network_weights``.
        path: for messages.

    Raises:
        InputError: the plan cannot be understood, or the encoder is not where it says.
    """
    plan = content[PLAN]
    try:
        name = plan["architecture_plans"]["arch_class_name"]
        pretraining = plan.get("pretrain_plan") or {}
        order = to_xyz(pretraining.get("transpose_forward", DEFAULT))
        places = {plan["key_to_encoder"]: _ENCODER, plan["key_to_stem"]: _STEM}
        card = _card(plan, name, pretraining, order)
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


def _card(plan: Mapping[str, Any], name: str, pretraining: Mapping[str, Any], order: list[int]) -> ForeignCard:
    configuration: Mapping[str, Any] = next(iter((pretraining.get("configurations") or {}).values()), {})
    channels = int(plan.get("pretrain_num_input_channels", 1))
    spacing, patch_size = configuration.get("spacing"), configuration.get("patch_size")
    schemes = configuration.get("normalization_schemes")
    notes = [
        "pretrained by nnssl without labels; its encoder and stem were taken, and what it reconstructs with was not",
        f"its {channels} input channel{'s' if channels > 1 else ''} took whatever contrast there was, and has no name",
        axes(order),
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

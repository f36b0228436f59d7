"""The networks of nnU-Net's plans and nnssl's presets as descriptions of ours."""

from collections.abc import Mapping, Sequence
from typing import Any

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


def described(channels: int, maps: int, **arguments: Any) -> dict[str, Any]:
    """A network of that family: ``_target_`` and arguments."""
    return {"_target_": _TARGET, "in_channels": channels, "out_channels": maps, **arguments}


def network_spec(
    configuration: Mapping[str, Any], *, channels: int, maps: int, order: Sequence[int]
) -> tuple[dict[str, Any] | None, str]:
    """A configuration's network, with its axes in another order.

    Args:
        configuration: of the plans; those of before nnU-Net 2.4 have no ``architecture``.
        channels: of the input.
        maps: of the output.
        order: which of its axes are x, y and z.

    Returns:
        The description, or None and why there is none.
    """
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

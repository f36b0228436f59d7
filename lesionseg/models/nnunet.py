"""nnU-Net's networks, from ``dynamic-network-architectures`` (the extra ``nnunet``), described by plain values."""

import math
from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn

Sides = Sequence[int]


class DynamicUNet(nn.Module):
    """Map images of shape (batch, in_channels, X, Y, Z) to logits of shape (batch, out_channels, X, Y, Z).

    The network that nnU-Net v2 (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z) builds from its plans, and with
    residual blocks the one of Isensee et al. 2024 (arXiv 2404.09556), which nnssl pretrains: convolutions with bias,
    instance normalisation, leaky ReLU, He's initialisation. Without deep supervision: of the heads only that at full
    resolution is made.

    Its parameters have nnU-Net's names, each one of them: where dynamic-network-architectures registers a module
    under a second name (``decoder.encoder.…``, ``….conv``, ``….norm``), that is taken away, so that no weight is
    stored, counted or loaded twice.

    Args:
        in_channels: number of input channels.
        out_channels: number of output maps; 1 for lesion against background.
        widths: feature channels per resolution level, from the finest; their number is the depth.
        block: ``residual`` for ResidualEncoderUNet, ``plain`` for PlainConvUNet.
        blocks: residual blocks, or convolutions of plain ones, per level of the encoder.
        decoder_convolutions: per level of the decoder, from the coarsest; one level fewer than the encoder has.
        kernels: side lengths of the kernels per level, in the order of the image's axes; None: 3 × 3 × 3.
        strides: of each level's first convolution, in the order of the image's axes; None: 1, then 2.

    Raises:
        ValueError: dynamic-network-architectures is not installed, fewer than two levels, an unknown block, or lists
            that do not have as many entries as there are levels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1,
        widths: Sequence[int] = (32, 64, 128, 256, 320, 320),
        block: Literal["residual", "plain"] = "residual",
        blocks: Sequence[int] = (1, 3, 4, 6, 6, 6),
        decoder_convolutions: Sequence[int] = (1, 1, 1, 1, 1),
        kernels: Sequence[Sides] | None = None,
        strides: Sequence[Sides] | None = None,
    ) -> None:
        super().__init__()
        levels = len(widths)
        kernels = kernels if kernels is not None else [[3, 3, 3]] * levels
        strides = strides if strides is not None else [[1, 1, 1], *[[2, 2, 2]] * (levels - 1)]
        _check_levels(levels, blocks=blocks, kernels=kernels, strides=strides)
        if len(decoder_convolutions) != levels - 1:
            raise ValueError(
                f"decoder_convolutions needs one entry fewer than widths ({levels - 1}); it is {decoder_convolutions}"
            )
        if block not in ("residual", "plain"):
            raise ValueError(f"block must be 'residual' or 'plain', not {block!r}")
        unet = _made(
            block,
            input_channels=in_channels,
            n_stages=levels,
            features_per_stage=list(widths),
            conv_op=nn.Conv3d,
            kernel_sizes=[list(sides) for sides in kernels],
            strides=[list(sides) for sides in strides],
            **{"n_blocks_per_stage" if block == "residual" else "n_conv_per_stage": list(blocks)},
            num_classes=out_channels,
            n_conv_per_stage_decoder=list(decoder_convolutions),
            conv_bias=True,
            norm_op=nn.InstanceNorm3d,
            norm_op_kwargs={"eps": 1e-5, "affine": True},
            nonlin=nn.LeakyReLU,
            nonlin_kwargs={"inplace": True},
            deep_supervision=False,
        )
        self.divisor = max(math.prod(axis) for axis in zip(*strides, strict=True))
        self.encoder: nn.Module = unet.encoder
        self.decoder: nn.Module = unet.decoder

    def forward(self, image: Tensor) -> Tensor:
        """Logits at the resolution of the image; each side must be a multiple of ``divisor``."""
        logits: Tensor = self.decoder(self.encoder(image))
        return logits


def _check_levels(levels: int, **lists: Sequence[Any]) -> None:
    if levels < 2:
        raise ValueError(f"a U-Net needs at least two levels; widths has {levels}")
    for name, entries in lists.items():
        if len(entries) != levels:
            raise ValueError(f"{name} needs one entry for each of the {levels} widths; it is {list(entries)}")


def _made(block: str, **arguments: Any) -> Any:
    """The network as nnU-Net makes and initialises it, without second names and without heads that are not used."""
    try:
        from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
    except ImportError as error:
        raise ValueError(
            f"nnU-Net's networks need dynamic-network-architectures, which is not installed ({error}): "
            "pip install 'lesionseg[nnunet]', or beside a torch for CPUs "
            "pip install --no-deps dynamic-network-architectures"
        ) from error
    unet = (ResidualEncoderUNet if block == "residual" else PlainConvUNet)(**arguments)
    unet.apply(unet.initialize)
    for module in unet.modules():
        if hasattr(module, "all_modules"):  # what its forward runs
            for name in set(dict(module.named_children())) - {"all_modules"}:
                delattr(module, name)
    del unet.decoder.encoder
    heads = unet.decoder.seg_layers
    for index in range(len(heads) - 1):  # those of deep supervision; the last one keeps its number
        heads[index] = nn.Identity()
    return unet

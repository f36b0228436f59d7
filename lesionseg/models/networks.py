"""A 3D U-Net of plain or residual blocks, losses, and a threshold on the intensity to hold networks against."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, max_pool3d, pad
from torch.nn.utils.fusion import fuse_conv_bn_eval

Norm = Literal["instance", "batch", "group"]
Block = Literal["plain", "residual"]


class UNet3D(nn.Module):
    """Map images of shape (batch, in_channels, X, Y, Z) to logits of shape (batch, out_channels, X, Y, Z).

    Args:
        in_channels: number of input channels.
        out_channels: number of output maps; 1 for lesion against background.
        widths: feature channels per resolution level, from the finest; their number is the depth.
        block: two convolutions in a row, or the same with a shortcut around them.
        norm: normalisation after each convolution.
        convolutions: convolutions per block.
        head_bias: first bias of the head: −4 begins with a lesion probability of 0.02, near the share that lesions have
            of a patch, so that the first steps need not learn it (Lin et al. 2017, arXiv 1708.02002, section 4.1).

    Raises:
        ValueError: fewer than two levels, no convolution, an unknown block or normalisation, or a width that group
            normalisation cannot divide.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1,
        widths: Sequence[int] = (16, 32, 64, 128),
        block: Block = "residual",
        norm: Norm = "instance",
        convolutions: int = 2,
        head_bias: float | None = None,
    ) -> None:
        super().__init__()
        if len(widths) < 2:
            raise ValueError(f"a U-Net needs at least two levels; widths is {list(widths)}")
        if not all(isinstance(width, int) and 1 <= width <= 2048 for width in widths):
            raise ValueError(f"widths must be whole numbers from 1 to 2048, not {list(widths)}")
        if convolutions < 1:
            raise ValueError(f"a block needs at least one convolution; convolutions is {convolutions}")
        if block not in ("plain", "residual"):
            raise ValueError(f"block must be 'plain' or 'residual', not {block!r}")
        self.divisor = 2 ** (len(widths) - 1)
        self.encoder = Encoder(in_channels, widths, block, norm, convolutions)
        self.decoder = Decoder(widths, block, norm, convolutions)
        self.head = nn.Conv3d(widths[0], out_channels, kernel_size=1)
        if head_bias is not None and self.head.bias is not None:
            nn.init.constant_(self.head.bias, head_bias)

    def forward(self, image: Tensor) -> Tensor:
        """Logits at the resolution of the image; each side must be a multiple of ``divisor``."""
        logits: Tensor = self.head(self.decoder(self.encoder(image)))
        return logits


class Encoder(nn.Module):
    """Halve the resolution level by level; returns the features of each, finest first."""

    def __init__(self, in_channels: int, widths: Sequence[int], block: Block, norm: Norm, convolutions: int) -> None:
        super().__init__()
        inputs = [in_channels, *widths[:-1]]
        self.levels = nn.ModuleList(
            ConvBlock(before, width, block, norm, convolutions, stride=1 if level == 0 else 2)
            for level, (before, width) in enumerate(zip(inputs, widths, strict=True))
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features of each level, finest first."""
        features = []
        for level in self.levels:
            image = level(image)
            features.append(image)
        return features


class Decoder(nn.Module):
    """Double the resolution level by level, joining the encoder's features of the same size."""

    def __init__(self, widths: Sequence[int], block: Block, norm: Norm, convolutions: int) -> None:
        super().__init__()
        pairs = list(pairwise(widths))[::-1]
        self.upsamplings = nn.ModuleList(
            nn.ConvTranspose3d(coarse, fine, kernel_size=2, stride=2) for fine, coarse in pairs
        )
        self.levels = nn.ModuleList(ConvBlock(2 * fine, fine, block, norm, convolutions, stride=1) for fine, _ in pairs)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Features at the finest resolution."""
        *skips, image = features
        for upsampling, level, skip in zip(self.upsamplings, self.levels, reversed(skips), strict=True):
            image = level(torch.cat([upsampling(image), skip], dim=1))
        return image


class ConvBlock(nn.Module):
    """3 × 3 × 3 convolutions, each with normalisation and leaky ReLU; the first may halve the resolution."""

    def __init__(self, before: int, width: int, block: Block, norm: Norm, convolutions: int, stride: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(convolutions):
            layers += [
                nn.Conv3d(
                    before if index == 0 else width,
                    width,
                    kernel_size=3,
                    stride=stride if index == 0 else 1,
                    padding=1,
                    bias=False,
                ),
                _normalisation(norm, width),
            ]
            if index < convolutions - 1:
                layers.append(nn.LeakyReLU(0.01, inplace=True))
        self.body = nn.Sequential(*layers)
        self.shortcut = (
            nn.Conv3d(before, width, kernel_size=1, stride=stride, bias=False)
            if block == "residual" and (before != width or stride > 1)
            else None
        )
        self.residual = block == "residual"
        self.activation = nn.LeakyReLU(0.01, inplace=True)

    def forward(self, image: Tensor) -> Tensor:
        """Features of ``width`` channels."""
        out: Tensor = self.body(image)
        if self.residual:
            out = out + (image if self.shortcut is None else self.shortcut(image))
        activated: Tensor = self.activation(out)
        return activated


def _normalisation(norm: Norm, width: int) -> nn.Module:
    if norm == "instance":
        return nn.InstanceNorm3d(width, affine=True)
    if norm == "batch":
        return nn.BatchNorm3d(width)
    if norm == "group":
        if width % 8:
            raise ValueError(f"group normalisation works in 8 groups; {width} channels cannot be divided")
        return nn.GroupNorm(8, width)
    raise ValueError(f"norm must be 'instance', 'batch' or 'group', not {norm!r}")


def channels_last(network: nn.Module) -> nn.Module:
    """The same network, its kernels laid out with the channel last: the same numbers, sooner.

    The tiny U-Net's training step took 0.8 of the time on a CPU with AVX512-BF16; a wider one's about the same.
    """
    overload: Any = network.to  # torch's stubs do not know memory_format here
    laid_out: nn.Module = overload(memory_format=torch.channels_last_3d)
    return laid_out


def fold_norms(network: nn.Module) -> nn.Module:
    """Fold each batch normalisation of a network into the convolution before it, in place, for inference.

    The logits stay the same but for rounding. A window of 96³ took the light U-Net 0.8 of the time on one core.
    """
    network.eval()
    for layers in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for index, (layer, norm) in enumerate(pairwise(layers)):
            if isinstance(layer, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d) and norm.track_running_stats:
                layers[index], layers[index + 1] = fuse_conv_bn_eval(layer, norm), nn.Identity()
    return network


class IntensityThreshold(nn.Module):
    """Call lesion what is bright enough and far enough from the brain's edge; nothing is learned but these two numbers.

    Maps images of shape (batch, channels, X, Y, Z), z-scored in the brain and 0 outside, to logits of shape
    (batch, 1, X, Y, Z): the first channel less the threshold, and −10 near the edge.

    Args:
        threshold: of the first channel, in standard deviations of the brain.
        margin: voxels along the axes from what is outside of the brain to the nearest lesion voxel.
    """

    def __init__(self, threshold: float = 2.0, margin: int = 6) -> None:
        super().__init__()
        self.register_buffer("threshold", torch.tensor(threshold))
        self.register_buffer("margin", torch.tensor(margin))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits at the resolution of the image; beyond it all is outside of the brain."""
        intensity = image[:, :1].float()
        margin = int(self.get_buffer("margin"))
        near = pad((intensity == 0).float(), [margin] * 6, value=1.0)
        for axis in range(3):  # a cube's maximum, axis by axis
            kernel = [2 * margin + 1 if other == axis else 1 for other in range(3)]
            near = max_pool3d(near, kernel, stride=1)
        return torch.where(near > 0, torch.full_like(intensity, -10.0), intensity - self.get_buffer("threshold"))


class OnnxNetwork(nn.Module):
    """A network that was written as ONNX for one window at a time, applied by onnxruntime on the CPU.

    Args:
        path: of the file.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        import onnxruntime

        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def forward(self, image: Tensor) -> Tensor:
        """Return logits at the resolution of the image."""
        found = [self._session.run(None, {"image": one[None].float().cpu().numpy()})[0] for one in image]
        return torch.cat([torch.from_numpy(logits) for logits in found]).to(image.device)


class DiceCrossEntropy(nn.Module):
    """Soft Dice loss over the whole batch plus binary cross-entropy (nnU-Net, doi 10.1038/s41592-020-01008-z).

    Dice is taken over all voxels of the batch at once, so that a patch without lesion contributes its false
    positives instead of an undefined ratio.

    Args:
        dice_weight: weight of the Dice term.
        cross_entropy_weight: weight of the cross-entropy term.
        positive_weight: how much more a lesion voxel counts than background in the cross-entropy.
        smooth: added to numerator and denominator of Dice, in voxels.
    """

    def __init__(
        self,
        dice_weight: float = 1.0,
        cross_entropy_weight: float = 1.0,
        positive_weight: float = 1.0,
        smooth: float = 1.0,
    ) -> None:
        super().__init__()
        self.dice_weight = dice_weight
        self.cross_entropy_weight = cross_entropy_weight
        self.positive_weight = positive_weight
        self.smooth = smooth

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """A scalar from logits and a 0/1 target, both of shape (batch, 1, X, Y, Z)."""
        logits, target = logits.float(), target.float()
        probability = torch.sigmoid(logits)
        overlap = (probability * target).sum()
        dice = (2 * overlap + self.smooth) / (probability.sum() + target.sum() + self.smooth)
        cross_entropy = binary_cross_entropy_with_logits(
            logits, target, pos_weight=torch.as_tensor(self.positive_weight, device=logits.device)
        )
        return self.dice_weight * (1 - dice) + self.cross_entropy_weight * cross_entropy


class FocalLoss(nn.Module):
    """Cross-entropy in which what is judged well already counts little (Lin et al. 2017, arXiv 1708.02002, eq. 4).

    The sum over the voxels is divided by the number of lesion voxels, as there by the number of positives, and by 100
    at least, so that a batch without lesion is no exception. Probabilities are drawn towards one half: a lesion's
    best threshold is near 0.3 rather than 0.5.

    Args:
        gamma: how fast a voxel's weight (1 − p)^gamma falls with the probability p of its own class; 0: cross-entropy.
    """

    def __init__(self, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return a scalar from logits and a 0/1 target, both of shape (batch, 1, X, Y, Z)."""
        logits, target = logits.float(), target.float()
        cross_entropy = binary_cross_entropy_with_logits(logits, target, reduction="none")
        weights = (1 - torch.exp(-cross_entropy)) ** self.gamma
        return (weights * cross_entropy).sum() / target.sum().clamp_min(100)

"""From a network and a volume to a lesion probability map; importable with torch alone."""

from collections.abc import Iterator, Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


@torch.inference_mode()
def sliding_window(
    network: nn.Module,
    image: Tensor,
    patch_size: Sequence[int],
    *,
    overlap: float = 0.25,
    batch_size: int = 2,
    skip_empty: bool = True,
) -> Tensor:
    """Lesion probability of a whole volume: windows weighted by a Gaussian, as in nnU-Net
    (doi 10.1038/s41592-020-01008-z).

    Args:
        network: gives logits (batch, 1, x, y, z) for windows (batch, channels, x, y, z).
        image: (channels, X, Y, Z), on the device where the result is wanted.
        patch_size: the window in voxels along (X, Y, Z).
        overlap: share of a window that its neighbour covers too, from 0 to below 1.
        batch_size: windows at a time.
        skip_empty: windows without a non-zero voxel are not looked at; what no other window covers gets
            probability 0.

    Returns:
        (X, Y, Z) float32 from 0 to 1.

    Raises:
        ValueError: an overlap that is negative or leaves no step from one window to the next.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap must be from 0 to below 1, found {overlap}")
    shape = image.shape[1:]
    missing = [max(0, window - side) for side, window in zip(shape, patch_size, strict=True)]
    padded = pad(image, [amount for side in reversed(missing) for amount in (0, side)])
    weight = _gaussian(patch_size).to(image.device)
    total = torch.zeros(padded.shape[1:], device=image.device)
    weights = torch.zeros_like(total)
    boxes = list(_boxes(padded.shape[1:], patch_size, overlap))
    full = [box for box in boxes if not skip_empty or bool(padded[(slice(None), *box)].any())]
    for start in range(0, len(full), batch_size):
        some = full[start : start + batch_size]
        logits = network(torch.stack([padded[(slice(None), *box)] for box in some]))
        for box, probability in zip(some, torch.sigmoid(logits.float())[:, 0], strict=True):
            total[box] += probability * weight
            weights[box] += weight
    probability = torch.where(weights > 0, total / weights.clamp_min(1e-12), 0.0)
    return probability[tuple(slice(0, side) for side in shape)]


def _boxes(shape: Sequence[int], window: Sequence[int], overlap: float) -> Iterator[tuple[slice, ...]]:
    """Windows that cover the volume, evenly spread, at least ``overlap`` of each shared with the next."""
    sides = []
    for size, length in zip(shape, window, strict=True):
        step = max(1, int(length * (1 - overlap)))
        count = max(1, -(-(size - length) // step) + 1)
        starts = [round(i * (size - length) / max(1, count - 1)) for i in range(count)]
        sides.append([slice(start, start + length) for start in starts])
    return product(*sides)


def _gaussian(window: Sequence[int]) -> Tensor:
    """A weight per voxel of a window, highest in its middle, never 0; standard deviation an eighth of a side."""
    weight = torch.ones(())
    for size in window:
        position = torch.arange(size) - (size - 1) / 2
        weight = weight[..., None] * torch.exp(-0.5 * (position / (size / 8)) ** 2)
    return weight.clamp_min(1e-3)

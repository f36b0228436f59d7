"""Losses for one-channel lesion maps."""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits


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

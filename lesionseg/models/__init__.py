"""Networks and losses; importable with torch alone."""

from lesionseg.models.networks import (
    DiceCrossEntropy,
    FocalLoss,
    IntensityThreshold,
    OnnxNetwork,
    UNet3D,
    channels_last,
    fold_norms,
)
from lesionseg.models.nnunet import DynamicUNet

__all__ = [
    "DiceCrossEntropy",
    "DynamicUNet",
    "FocalLoss",
    "IntensityThreshold",
    "OnnxNetwork",
    "UNet3D",
    "channels_last",
    "fold_norms",
]

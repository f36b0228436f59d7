"""Networks and losses; importable with torch alone."""

from lesionseg.models.layout import channels_last
from lesionseg.models.losses import DiceCrossEntropy
from lesionseg.models.unet import UNet3D

__all__ = ["DiceCrossEntropy", "UNet3D", "channels_last"]

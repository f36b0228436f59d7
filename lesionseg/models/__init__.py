"""Networks and losses; importable with torch alone."""

from lesionseg.models.dynamic_unet import DynamicUNet
from lesionseg.models.layout import channels_last
from lesionseg.models.losses import DiceCrossEntropy
from lesionseg.models.unet import UNet3D

__all__ = ["DiceCrossEntropy", "DynamicUNet", "UNet3D", "channels_last"]

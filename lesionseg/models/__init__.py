"""Networks and losses; importable with torch alone."""

from lesionseg.models.nnunet import DynamicUNet
from lesionseg.models.unet import DiceCrossEntropy, UNet3D, channels_last

__all__ = ["DiceCrossEntropy", "DynamicUNet", "UNet3D", "channels_last"]

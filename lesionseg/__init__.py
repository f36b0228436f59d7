"""Controlled experiments in 3D lesion segmentation."""

__version__ = "0.1.0"

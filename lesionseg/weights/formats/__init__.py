"""Weights of other programs, read without running anything in their files."""

from lesionseg.weights.formats.card import ForeignCard
from lesionseg.weights.formats.contrasts import contrast_name
from lesionseg.weights.formats.load import load_weights
from lesionseg.weights.formats.model import ForeignModel

__all__ = ["ForeignCard", "ForeignModel", "contrast_name", "load_weights"]

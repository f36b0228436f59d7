"""Training with Lightning: module, data module and trainer."""

from lesionseg.training.datamodule import PatchDataModule
from lesionseg.training.module import NotFiniteError, Optimiser, SegmentationModule
from lesionseg.training.trainer import Machine, check_machine, choose_precision, choose_strategy, fit, keep, rehearse

__all__ = [
    "Machine",
    "NotFiniteError",
    "Optimiser",
    "PatchDataModule",
    "SegmentationModule",
    "check_machine",
    "choose_precision",
    "choose_strategy",
    "fit",
    "keep",
    "rehearse",
]

"""Lightning, and nothing else of it below the runs."""

from lesionseg.training.datamodule import PatchDataModule
from lesionseg.training.fit import Machine, check_machine, choose_precision, fit
from lesionseg.training.module import NotFiniteError, Optimiser, SegmentationModule

__all__ = [
    "Machine",
    "NotFiniteError",
    "Optimiser",
    "PatchDataModule",
    "SegmentationModule",
    "check_machine",
    "choose_precision",
    "fit",
]

"""Lightning, and nothing else of it below the runs."""

from lesionseg.training.datamodule import PatchDataModule
from lesionseg.training.fit import Machine, check_machine, choose_precision, fit, keep
from lesionseg.training.module import NotFiniteError, Optimiser, SegmentationModule
from lesionseg.training.regime import Regime, Strategy, regimes, set_trained

__all__ = [
    "Machine",
    "NotFiniteError",
    "Optimiser",
    "PatchDataModule",
    "Regime",
    "SegmentationModule",
    "Strategy",
    "check_machine",
    "choose_precision",
    "fit",
    "keep",
    "regimes",
    "set_trained",
]

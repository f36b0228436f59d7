"""Lightning, and nothing else of it below the runs."""

from lesionseg.training.datamodule import PatchDataModule
from lesionseg.training.fit import (
    Machine,
    Rehearsal,
    check_machine,
    choose_precision,
    choose_strategy,
    fit,
    keep,
    rehearse,
)
from lesionseg.training.module import NotFiniteError, Optimiser, SegmentationModule
from lesionseg.training.regime import Regime, Strategy, regimes, set_trained

__all__ = [
    "Machine",
    "NotFiniteError",
    "Optimiser",
    "PatchDataModule",
    "Regime",
    "Rehearsal",
    "SegmentationModule",
    "Strategy",
    "check_machine",
    "choose_precision",
    "choose_strategy",
    "fit",
    "keep",
    "regimes",
    "rehearse",
    "set_trained",
]

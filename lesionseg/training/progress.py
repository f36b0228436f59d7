"""A line per validation: where a run is, how it does, how long it takes yet."""

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Literal, Protocol

import pytorch_lightning as pl

Phase = Literal["preparing", "training", "validating", "testing", "logging"]


class Tell(Protocol):
    """Takes word of how far a run is; what it raises ends the training."""

    def __call__(self, phase: Phase, *, step: int | None = None, seconds_left: float | None = None) -> None:
        """In which phase it is, after which step, and how long the training takes yet."""


class ProgressWords(pl.Callback):
    """Tell at every step, and where a validation begins and ends.

    Args:
        steps: the run's whole budget.
        tell: is told.
    """

    def __init__(self, steps: int, tell: Tell) -> None:
        self.steps = steps
        self.tell = tell
        self._began = time.monotonic()
        self._first = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; a resumed run has steps behind it."""
        self._began = time.monotonic()
        self._first = trainer.global_step
        self._training(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A step more."""
        self._training(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Whole studies now."""
        if trainer.is_global_zero:
            self.tell("validating", step=trainer.global_step)

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """A study more."""
        if trainer.is_global_zero:
            self.tell("validating", step=trainer.global_step)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Patches again."""
        self._training(trainer)

    def _training(self, trainer: pl.Trainer) -> None:
        if not trainer.is_global_zero:
            return
        step = trainer.global_step
        rate = (time.monotonic() - self._began) / max(1, step - self._first)
        left = rate * (self.steps - step) if step > self._first else None
        self.tell("training", step=step, seconds_left=left)


class ProgressLines(pl.Callback):
    """Tell after each validation; lines, not a bar, so that a log file of a night can be read.

    Args:
        title: begins each line.
        steps: the run's whole budget.
        say: takes a line.
    """

    def __init__(self, title: str, steps: int, say: Callable[[str], None]) -> None:
        self.title = title
        self.steps = steps
        self.say = say
        self._began = time.monotonic()
        self._first = 0
        self._loss: list[float] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; a resumed run has steps behind it."""
        self._began = time.monotonic()
        self._first = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Remember the loss, without the pull of L2-SP."""
        self._loss.append(float(outputs["train/loss"]))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say the line."""
        step, values = trainer.global_step, trainer.callback_metrics
        if step == self._first or not trainer.is_global_zero:
            return
        rate = (time.monotonic() - self._began) / (step - self._first)
        left = timedelta(seconds=round(rate * (self.steps - step)))
        loss = sum(self._loss) / max(1, len(self._loss))
        self._loss = []
        scores = scores_in_words(values)
        self.say(f"{self.title}  step {step}/{self.steps}  loss {loss:.3f}  validation {scores}  {left} left")


def scores_in_words(values: Mapping[str, Any]) -> str:
    """A validation's scores for the terminal; what is not among the values is left out."""
    return ", ".join(
        f"{label} {float(values[f'val/{name}']):.2f}"
        for label, name in (
            ("sensitivity", "lesion_sensitivity"),
            ("PPV", "lesion_ppv"),
            ("F1", "lesion_f1"),
        )
        if f"val/{name}" in values
    )

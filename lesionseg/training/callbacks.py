"""What happens around Lightning's steps: atomic checkpoints, random state, metrics and progress lines."""

import io
import os
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from tqdm import tqdm

from lesionseg.io import written_whole

LogMetrics = Callable[[Mapping[str, float], int], None]
Say = Callable[[str], None]


class Progress(Protocol):
    """Takes note of how far a run is; what it raises ends the training."""

    def __call__(self, phase: str, *, step: int | None = None, seconds_left: float | None = None) -> None:
        """Note the phase, the step, and how long the training still takes."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its place, then rename it: a killed process leaves the one before."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint and flush it to the disk."""
        content = io.BytesIO()  # torch itself gives no readable error when the disk is full
        torch.save(checkpoint, content)
        with written_whole(Path(path)) as partial, partial.open("wb") as stream:
            stream.write(content.getbuffer())
            stream.flush()
            os.fsync(stream.fileno())


class RandomState(pl.Callback):
    """Keep torch's random state in the checkpoint, so that dropout goes on as if there had been no interruption."""

    def __init__(self) -> None:
        self._saved: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the CPU's and of every GPU's generator."""
        gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {"cpu": torch.get_rng_state(), "cuda": gpus}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until training starts; what comes before may draw random numbers, too."""
        self._saved = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the state."""
        if self._saved is None:
            return
        torch.set_rng_state(self._saved["cpu"].cpu())
        if torch.cuda.is_available() and len(self._saved["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([state.cpu() for state in self._saved["cuda"]])


class VariableEpochs(pl.Callback):
    """Let epochs differ in length across an interruption.

    Lightning compares the batches that a checkpoint counts in its epoch with the length of the next one, and takes the
    epoch for unfinished where that is longer.
    """

    def __init__(self, epoch_end: Callable[[int], int]) -> None:
        self._epoch_end = epoch_end

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Count as many batches as the next epoch has."""
        done = checkpoint["global_step"]
        current = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        current.update(dict.fromkeys(current, self._epoch_end(done) - done))


class LastAsBest(pl.Callback):
    """Keep the last weights as the best where the monitored score never rose above zero."""

    def __init__(self, best: ModelCheckpoint, say: Say) -> None:
        self._best = best
        self._say = say

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the checkpoint; on every device, since they do that together."""
        best = self._best
        if best.best_model_score is not None and float(best.best_model_score) > 0:
            return
        assert best.dirpath is not None
        trainer.save_checkpoint(Path(best.dirpath) / f"{best.filename}.ckpt", weights_only=True)
        if trainer.is_global_zero:
            self._say(f"{best.monitor} never rose above zero: the last weights are kept, none being the best")


class MetricLog(pl.Callback):
    """Pass on the training loss, rate and seconds a step every few steps, and the scores of each validation, by
    optimiser step."""

    def __init__(self, log: LogMetrics, every: int) -> None:
        self._log = log
        self._every = every
        self._seconds = 0.0
        self._began = 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, idx: int) -> None:
        """Start the clock, which stands still in validations."""
        self._began = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Pass on the loss."""
        self._seconds += time.monotonic() - self._began
        if trainer.global_step % self._every == 0:
            shown = {key: trainer.strategy.reduce(value) for key, value in outputs.items() if key.startswith("train/")}
            shown |= {"train/lr": trainer.optimizers[0].param_groups[0]["lr"]}
            self._pass_on(trainer, {**shown, "train/seconds_per_step": self._seconds / self._every})
            self._seconds = 0.0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Pass on the scores."""
        self._pass_on(trainer, trainer.callback_metrics)

    def _pass_on(self, trainer: pl.Trainer, values: Mapping[str, Any]) -> None:
        if values and trainer.is_global_zero:  # of several devices the first one reports
            self._log({name: float(value) for name, value in values.items()}, trainer.global_step)


class ProgressReport(pl.Callback):
    """Note every step, and print a line after each validation, so that the log of a night can be read; on a terminal a
    bar shows the steps, seconds a step, time left and the last lesion F1."""

    def __init__(self, steps: int, say: Say, progress: Progress | None) -> None:
        self._steps = steps
        self._say = say
        self._progress = progress
        self._began = time.monotonic()
        self._first = 0
        self._losses: list[float] = []
        self._bar: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock; a resumed run has steps behind it."""
        self._began = time.monotonic()
        self._first = trainer.global_step
        if trainer.is_global_zero and sys.stderr.isatty():  # elsewhere lines alone
            self._bar = tqdm(total=self._steps, initial=self._first, unit="step", leave=False, dynamic_ncols=True)
        self._note(trainer, "training")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the step and its loss, without the L2-SP penalty."""
        self._losses.append(float(outputs["train/loss"]))
        if self._bar is not None:
            self._bar.update(trainer.global_step - self._bar.n)
        self._note(trainer, "training")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that whole studies come now."""
        self._note(trainer, "validating")

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Note a validated study."""
        self._note(trainer, "validating")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line."""
        step = trainer.global_step
        self._note(trainer, "training")
        if step == self._first or not trainer.is_global_zero:
            return
        left = timedelta(seconds=round(self._seconds_left(step) or 0))
        loss = sum(self._losses) / max(1, len(self._losses))
        self._losses = []
        scores = validation_scores(trainer.callback_metrics)
        if self._bar is not None:
            self._bar.clear()
        self._say(f"step {step}/{self._steps}  loss {loss:.3f}  validation {scores}  {left} left")
        if self._bar is not None:
            self._bar.set_postfix_str(f"lesion F1 {float(trainer.callback_metrics.get('val/lesion_f1', 0)):.2f}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

    def _note(self, trainer: pl.Trainer, phase: str) -> None:
        if self._progress is not None and trainer.is_global_zero:
            step = trainer.global_step
            self._progress(phase, step=step, seconds_left=self._seconds_left(step))

    def _seconds_left(self, step: int) -> float | None:
        if step == self._first:
            return None
        return (time.monotonic() - self._began) / (step - self._first) * (self._steps - step)


def validation_scores(values: Mapping[str, Any]) -> str:
    """Return a validation's scores as text; those that are not among the values are left out."""
    labels = {"lesion_sensitivity": "sensitivity", "lesion_ppv": "PPV", "lesion_f1": "F1"}
    found = [(label, values[f"val/{name}"]) for name, label in labels.items() if f"val/{name}" in values]
    return ", ".join(f"{label} {float(value):.2f}" for label, value in found)

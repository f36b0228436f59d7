"""Checkpoints that are there whole or not at all, and from which a run goes on as if nothing had been."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

from lesionseg.data.files import written_whole


class WholeCheckpointIO(TorchCheckpointIO):
    """Write beside, then rename: whoever is killed meanwhile leaves the checkpoint of before."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint, and see that it is on the disk."""
        content = io.BytesIO()  # torch itself says nothing of a full disk that one understands
        torch.save(checkpoint, content)
        with written_whole(Path(path)) as partial, partial.open("wb") as stream:
            stream.write(content.getbuffer())
            stream.flush()
            os.fsync(stream.fileno())


class RandomState(pl.Callback):
    """Keep torch's random state in the checkpoint, so that a network with dropout goes on as if nothing had been."""

    def __init__(self) -> None:
        self._saved: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The state of the processor's and of every GPU's generator."""
        gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {"cpu": torch.get_rng_state(), "cuda": gpus}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember it until training starts; what is done before may draw, too."""
        self._saved = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take it up again."""
        if self._saved is None:
            return
        torch.set_rng_state(self._saved["cpu"].cpu())
        if torch.cuda.is_available() and len(self._saved["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([state.cpu() for state in self._saved["cuda"]])


class EpochsOfAnyLength(pl.Callback):
    """Begin a new epoch after a checkpoint, however long that one is.

    Lightning holds the batches that a checkpoint counts in its epoch against the length of the next epoch, and where
    that is longer, takes the epoch for unfinished. Ours differ in length, and ``trainer.checkpoint_every`` may change.

    Args:
        epoch_end: gives the step that ends the epoch which begins after so many steps.
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

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set right the count by which Lightning knows when to log: after a checkpoint it is one too high."""
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step


class BestIsSomething(pl.Callback):
    """Keep the last weights as the best where the score that chooses never rose above zero.

    Args:
        best: the callback that keeps the best.
        say: takes a line.
        title: begins it.
    """

    def __init__(self, best: ModelCheckpoint, say: Callable[[str], None], title: str) -> None:
        self._best = best
        self._say = say
        self._title = title

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """On every device: they write a checkpoint together."""
        best = self._best
        if best.best_model_score is not None and float(best.best_model_score) > 0:
            return
        assert best.dirpath is not None
        trainer.save_checkpoint(Path(best.dirpath) / f"{best.filename}.ckpt", weights_only=True)
        if trainer.is_global_zero:
            self._say(
                f"{self._title}  {best.monitor} never rose above zero: the last weights are kept, none being the best"
            )

"""Lightning's trainer for a budget of optimiser steps: train, rehearse, or only validate."""

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from lesionseg.errors import InputError
from lesionseg.training.callbacks import (
    AtomicCheckpointIO,
    LastAsBest,
    LogMetrics,
    MetricLog,
    Progress,
    ProgressReport,
    RandomState,
    VariableEpochs,
    validation_scores,
)
from lesionseg.training.datamodule import PatchDataModule
from lesionseg.training.module import SegmentationModule
from lesionseg.transfer.checkpoint import check_whole

BEST, LAST = "best", "last"


@dataclass(frozen=True)
class Machine:
    """What a run is trained on: Lightning's arguments of the same names; ``auto`` precision is bf16 where it can."""

    accelerator: str = "auto"
    devices: int | str | list[int] = 1
    strategy: str = "auto"
    precision: str = "auto"


def fit(
    module: SegmentationModule,
    data: PatchDataModule,
    *,
    folder: Path,
    machine: Machine,
    monitor: str,
    gradient_clip: float,
    log_every: int,
    log: LogMetrics,
    say: Callable[[str], None],
    progress: Progress | None = None,
) -> Path:
    """Train to the end of the budget, going on from ``folder/last.ckpt`` if there is one."""
    best = ModelCheckpoint(
        dirpath=folder,
        filename=BEST,
        monitor=monitor,
        mode="max",
        save_weights_only=True,
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )
    last = ModelCheckpoint(dirpath=folder, filename=LAST, enable_version_counter=False, save_on_train_epoch_end=True)
    callbacks = [
        QuietProcess(),
        MetricLog(log, log_every),
        ProgressReport(data.steps, say, progress),
        RandomState(),
        VariableEpochs(data.epoch_end),
        best,
        last,
        LastAsBest(best, say),
    ]
    with _quiet():
        trainer = _trainer(machine, data, gradient_clip, callbacks, default_root_dir=folder)
        resumed = folder / f"{LAST}.ckpt"
        if resumed.exists() and not _is_sound(resumed):
            resumed.replace(aside := resumed.with_suffix(".damaged"))
            say(f"{resumed} is damaged, and set aside as {aside.name}: the training starts again from its first step")
        trainer.fit(module, datamodule=data, ckpt_path=resumed if resumed.exists() else None, weights_only=True)
    return folder / f"{BEST}.ckpt"


def _is_sound(checkpoint: Path) -> bool:
    """Whether a training can go on from a checkpoint."""
    try:
        check_whole(checkpoint)
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        return bool({"state_dict", "optimizer_states", "loops", "global_step"} <= content.keys())
    except Exception:  # torch raises nearly anything for a file that is not its own
        return False


def rehearse(
    module: SegmentationModule, data: PatchDataModule, *, machine: Machine, monitor: str, gradient_clip: float
) -> tuple[float, float]:
    """Train as :func:`fit` does and keep nothing of it."""
    losses: list[float] = []

    def note(metrics: Mapping[str, float], step: int) -> None:
        losses.extend(value for name, value in metrics.items() if name == "train/loss")

    with _quiet():
        trainer = _trainer(machine, data, gradient_clip, [MetricLog(note, 1)], enable_checkpointing=False)
        trainer.fit(module, datamodule=data)
    late = losses[-math.ceil(len(losses) / 4) :]
    return float(trainer.callback_metrics[monitor]), math.fsum(late) / len(late)


def keep(
    module: SegmentationModule,
    data: PatchDataModule,
    *,
    folder: Path,
    machine: Machine,
    log: LogMetrics,
    say: Callable[[str], None],
) -> Path:
    """Validate a network as it is and write it as ``folder/best.ckpt``, without a step of training."""
    with _quiet():
        trainer = pl.Trainer(
            **_place(machine),
            callbacks=[MetricLog(log, 1)],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            use_distributed_sampler=False,
            default_root_dir=folder,
        )
        (scores,) = trainer.validate(module, datamodule=data, verbose=False)
        trainer.save_checkpoint(folder / f"{BEST}.ckpt", weights_only=True)
    say(f"not trained  validation {validation_scores(scores)}")
    return folder / f"{BEST}.ckpt"


def check_machine(machine: Machine) -> None:
    """See that Lightning can train there."""
    with _quiet():
        try:
            pl.Trainer(**_place(machine), logger=False, enable_checkpointing=False, enable_progress_bar=False)
        except (MisconfigurationException, ImportError, RuntimeError, ValueError, TypeError) as error:
            raise InputError(
                f"trainer.accelerator={machine.accelerator}, devices={machine.devices}, strategy={machine.strategy}, "
                f"precision={machine.precision}: Lightning cannot train so here ({str(error).splitlines()[0]}); "
                "auto, 1, auto, auto works everywhere"
            ) from error


def _trainer(
    machine: Machine,
    data: PatchDataModule,
    gradient_clip: float,
    callbacks: Sequence[pl.Callback],
    **others: Any,
) -> pl.Trainer:
    return pl.Trainer(
        **_place(machine),
        max_steps=data.steps,
        max_epochs=-1,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        gradient_clip_val=gradient_clip or None,
        callbacks=list(callbacks),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **others,
    )


def _place(machine: Machine) -> dict[str, Any]:
    return {
        "accelerator": machine.accelerator,
        "devices": machine.devices,
        "strategy": choose_strategy(machine.strategy, machine.devices),
        "precision": choose_precision(machine.precision, machine.accelerator),
        # whatever cluster this is: the launcher starts one process for a run, and Lightning the others
        "plugins": [AtomicCheckpointIO(), LightningEnvironment()],
    }


def choose_strategy(wanted: str, devices: int | str | list[int]) -> str:
    """Return Lightning's strategy: as wanted, or for ``auto`` on several devices one that starts its own processes.

    Lightning's own choice there, ``ddp``, would start the whole command again for each device, sweep and all.
    """
    single = devices in (1, "1", "auto") or (isinstance(devices, list) and len(devices) == 1)
    return "ddp_spawn" if wanted == "auto" and not single else wanted


def choose_precision(wanted: str, accelerator: str) -> str:
    """Return Lightning's precision: as wanted, or for ``auto`` bf16 where the GPU or CPU computes in it."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available() and accelerator != "cpu":
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    cpu_has_bf16: Any = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bf16-mixed" if cpu_has_bf16() else "32-true"


class QuietProcess(pl.Callback):
    """Silence the processes of further devices, too."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """In each of them."""
        if trainer.world_size > 1:
            _silence()


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        _silence()
        yield


def _silence() -> None:
    """Silence Lightning's greetings, and its warnings of choices made here on purpose."""
    for name in (
        "pytorch_lightning",
        "lightning.pytorch",
        "pytorch_lightning.utilities.rank_zero",
        "lightning.fabric",
        "lightning_fabric",
    ):
        logging.getLogger(name).setLevel(logging.WARNING)
    for text in (
        ".*does not have many workers.*",
        ".*Checkpoint directory.*exists and is not empty.*",
        ".*The number of training batches.*is smaller than the logging interval.*",
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
        ".*Trying to infer the `batch_size`.*",
        ".*could not find the monitored key.*",  # the end of an epoch is told again on going on from it
        ".*GPU available but not used.*",
        ".*The `srun` command is available.*",  # who started the run knows
        ".*Grad strides do not match bucket view strides.*",  # of kernels of one voxel it does not matter
        ".*Total length of `DataLoader` across ranks is zero.*",  # a checkpoint without a validation
        ".*module\\(s\\) in eval mode at the start of training.*",  # the norms of what is frozen
    ):
        warnings.filterwarnings("ignore", message=text)

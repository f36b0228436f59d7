"""Patches to train on and whole studies to validate on."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Subset

from lesionseg.data.cache import CachedStudy
from lesionseg.data.dataset import Channel
from lesionseg.data.patches import Augment, PatchDataset


class PatchDataModule(pl.LightningDataModule):
    """An epoch is the stretch between two checkpoints, some of which come with a validation; each begins where the one
    before ended.

    Patches are numbered through the whole run, so a resumed run draws what the uninterrupted one would have, and where
    the checkpoints are changes nothing.
    """

    def __init__(
        self,
        train: Sequence[CachedStudy],
        validation: Sequence[CachedStudy],
        channels: Sequence[Channel],
        patch_size: tuple[int, int, int],
        *,
        batch_size: int,
        steps: int,
        validate_every: int,
        lesion_share: float,
        seed: int,
        augment: Augment | None,
        num_workers: int,
        checkpoint_every: int | None = None,
    ) -> None:
        super().__init__()
        self.train = list(train)
        self.validation = list(validation)
        self.channels = tuple(channels)
        self.patch_size = patch_size
        self.batch_size = batch_size
        self.steps = steps
        self.validate_every = validate_every
        self.lesion_share = lesion_share
        self.seed = seed
        self.augment = augment
        self.num_workers = num_workers
        self.checkpoint_every = checkpoint_every or validate_every
        self._end: int | None = None  # of the epoch, in steps

    def epoch_end(self, done: int) -> int:
        """The step with which the epoch ends that begins after ``done`` steps."""
        return min(_next(done, self.checkpoint_every), _next(done, self.validate_every), max(self.steps, done + 1))

    def train_dataloader(self) -> Any:
        """The patches of the epoch that is about to begin; several devices share each batch."""
        done = self.trainer.global_step if self.trainer else 0
        self._end = self.epoch_end(done)
        patches = PatchDataset(
            self.train,
            self.channels,
            self.patch_size,
            seed=self.seed,
            first=done * self.batch_size,
            length=(self._end - done) * self.batch_size,
            lesion_share=self.lesion_share,
            augment=self.augment,
        )
        rank, devices = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return DataLoader(
            Subset(patches, range(rank, len(patches), devices)),
            batch_size=self.batch_size // devices,
            num_workers=self.num_workers,
            multiprocessing_context="fork" if self.num_workers else None,
            generator=torch.Generator(),  # its own: the network's dropout must not depend on how many epochs there are
        )

    def val_dataloader(self) -> Any:
        """The validation studies, one after the other; none at the end of an epoch that has no validation."""
        due = self._end is None or self._end % self.validate_every == 0 or self._end >= self.steps
        studies = self.validation if due else []
        return DataLoader(studies, batch_size=None, collate_fn=lambda study: study, generator=torch.Generator())  # type: ignore[arg-type]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Patches go to the device; a study stays on disk, and its windows are brought there one by one."""
        if isinstance(batch, CachedStudy) or device.type == "cpu":
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)


def _next(done: int, every: int) -> int:
    """The first multiple of ``every`` that is not done."""
    return (done // every + 1) * every

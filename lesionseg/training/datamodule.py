"""Patches to train on and whole studies to validate on."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from lesionseg.data.cache import CachedStudy
from lesionseg.data.channels import Channel
from lesionseg.data.patches import Augment, PatchDataset


class PatchDataModule(pl.LightningDataModule):
    """An epoch is the stretch between two validations; each begins where the one before ended.

    Patches are numbered through the whole run, so a resumed run draws what the uninterrupted one would have.

    Args:
        train: studies to cut patches from.
        validation: studies to segment whole.
        channels: the task's inputs.
        patch_size: voxels.
        batch_size: patches.
        steps: the whole budget in optimiser steps.
        validate_every: steps of an epoch.
        lesion_share: of patches near a lesion.
        seed: of the patches.
        augment: of the patches.
        num_workers: processes that cut them.
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

    def train_dataloader(self) -> Any:
        """The patches of the epoch that is about to begin."""
        done = self.trainer.current_epoch * self.validate_every if self.trainer else 0
        steps = max(1, min(self.validate_every, self.steps - done))
        patches = PatchDataset(
            self.train,
            self.channels,
            self.patch_size,
            seed=self.seed,
            first=done * self.batch_size,
            length=steps * self.batch_size,
            lesion_share=self.lesion_share,
            augment=self.augment,
        )
        return DataLoader(
            patches,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            multiprocessing_context="fork" if self.num_workers else None,
        )

    def val_dataloader(self) -> Any:
        """The validation studies, one after the other."""
        return DataLoader(self.validation, batch_size=None, collate_fn=_itself)  # type: ignore[arg-type]

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Patches go to the device; a study stays on disk, and its windows are brought there one by one."""
        if isinstance(batch, CachedStudy):
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)


def _itself(study: CachedStudy) -> CachedStudy:
    return study

"""Training patches: lesion by lesion, mixed with background, the same for any number of workers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torchio as tio
from torch.utils.data import Dataset

from lesionseg.data.cache import CachedStudy
from lesionseg.data.dataset import Channel
from lesionseg.data.nifti import Array
from lesionseg.instantiate import build

Patch = dict[str, torch.Tensor]

Augment = Callable[[Patch, int], Patch]


class PatchDataset(Dataset[Patch]):
    """Patch number ``index`` of a run; which one it is depends on the seed and the index alone.

    Args:
        studies: prepared studies with masks.
        channels: the task's inputs.
        patch_size: voxels along (X, Y, Z).
        seed: the run's.
        first: number of the first patch: where a resumed run goes on.
        length: how many patches.
        lesion_share: probability that a patch is centred near a lesion. A study is drawn first, then one of its
            lesions, each with the same chance whatever its volume, then a voxel of it.
        augment: applied to each patch with a seed of its own.
    """

    def __init__(
        self,
        studies: Sequence[CachedStudy],
        channels: Sequence[Channel],
        patch_size: tuple[int, int, int],
        *,
        seed: int,
        length: int,
        first: int = 0,
        lesion_share: float,
        augment: Augment | None = None,
    ) -> None:
        self.studies = list(studies)
        self.channels = tuple(channels)
        self.patch_size = patch_size
        self.seed = seed
        self.first = first
        self.length = length
        self.lesion_share = lesion_share
        self.augment = augment

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Patch:
        if not 0 <= index < self.length:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, self.first + index])
        number = int(rng.integers(len(self.studies)))
        study = self.studies[number]
        centre = self._centre(study, rng)
        corner = [int(middle) - side // 2 for middle, side in zip(centre, self.patch_size, strict=True)]
        image = cut(lambda box: study.channels(self.channels, box), study.grid.shape, corner, self.patch_size)
        mask = cut(lambda box: study.mask[box][None].astype(np.float32), study.grid.shape, corner, self.patch_size)
        patch: Patch = {
            "image": torch.from_numpy(image),
            "mask": torch.from_numpy(mask),
            "study": torch.tensor(number),
        }
        return self.augment(patch, int(rng.integers(2**31))) if self.augment else patch

    def _centre(self, study: CachedStudy, rng: np.random.Generator) -> Array:
        """A voxel near a lesion, or anywhere in the brain."""
        voxels, starts = study.lesions()
        lesions = len(starts) - 1
        if lesions and rng.random() < self.lesion_share:
            lesion = int(rng.integers(lesions))
            voxel = np.asarray(voxels[rng.integers(starts[lesion], starts[lesion + 1])], dtype=int)
            reach = np.array(self.patch_size) // 4
            return voxel + rng.integers(-reach, reach + 1)
        first_image = study.images[0]
        centre = rng.integers(0, study.grid.shape)
        for _ in range(20):
            if first_image[tuple(centre)] != 0:
                break
            centre = rng.integers(0, study.grid.shape)
        return np.asarray(centre)


def cut(
    read: Callable[[tuple[slice, ...]], Array],
    shape: tuple[int, int, int],
    corner: Sequence[int],
    size: tuple[int, int, int],
) -> Array:
    """A patch of exactly ``size``, zeros where it reaches beyond the volume.

    Args:
        read: gives the voxels of a box, (channels, x, y, z).
        shape: of the volume, (X, Y, Z).
        corner: the patch's first voxel; may lie outside.
        size: of the patch, (X, Y, Z).
    """
    box, place = [], []
    for length, first, side in zip(shape, corner, size, strict=True):
        start, stop = min(max(first, 0), length), min(max(first + side, 0), length)
        before = min(max(-first, 0), side)
        box.append(slice(start, stop))
        place.append(slice(before, before + stop - start))
    inside = read(tuple(box))
    if inside.shape[1:] == size:
        return np.ascontiguousarray(inside)
    patch = np.zeros((len(inside), *size), inside.dtype)
    patch[(slice(None), *place)] = inside
    return patch


class Augmentation:
    """Apply transforms in order to a patch's image and mask.

    Args:
        transforms: descriptions, ``{"_target_": "torchio.RandomFlip", ...}``; lists become the tuples that TorchIO
            wants.
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any]]) -> None:
        tuples = [{k: tuple(v) if isinstance(v, list) else v for k, v in spec.items()} for spec in transforms]
        self.transform = tio.Compose([build(spec, tio.Transform) for spec in tuples], copy=False)
        for part in self.transform.transforms:
            part.copy = False  # a patch is nobody else's

    def __call__(self, patch: Patch, seed: int) -> Patch:
        """The patch after the transforms that this seed draws.

        The global random state stays as it was.
        """
        subject = tio.Subject(image=tio.ScalarImage(tensor=patch["image"]), mask=tio.LabelMap(tensor=patch["mask"]))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed asks every kind of device
            changed = self.transform(subject)
        return {**patch, "image": changed.image.data.float(), "mask": changed.mask.data.float()}

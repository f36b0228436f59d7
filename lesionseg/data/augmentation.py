"""TorchIO transforms of a training patch, replayable from a seed."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torchio as tio

from lesionseg.build import build
from lesionseg.data.patches import Patch


class Augmentation:
    """Apply transforms in order to a patch's image and mask.

    Args:
        transforms: descriptions, ``{"_target_": "torchio.RandomFlip", ...}``; lists become the tuples that TorchIO
            wants.
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any]]) -> None:
        self.transform = tio.Compose([build(_tuples(spec), tio.Transform) for spec in transforms])

    def __call__(self, patch: Patch, seed: int) -> Patch:
        """The patch after the transforms that this seed draws.

        The CPU's global random state stays as it was; a GPU's does not, since TorchIO seeds that as well.
        """
        subject = tio.Subject(image=tio.ScalarImage(tensor=patch["image"]), mask=tio.LabelMap(tensor=patch["mask"]))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            changed = self.transform(subject)
        return {**patch, "image": changed.image.data.float(), "mask": changed.mask.data.float()}


def _tuples(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in spec.items()}

"""Tiny NIfTI files, each image unlike any other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from lesionseg.data.dataset import MaskFile, Study, TaskStudy, parse_channel
from lesionseg.errors import InputError

SHAPE = (20, 20, 20)


@pytest.fixture
def write_scan() -> Callable[..., Path]:
    """Writes ``voxels`` (a brain of 12³ voxels in a background of zeros, if not given) with ``affine`` to a "
    "path."""
    random = np.random.default_rng(0)

    def write(path: Path, voxels: Any = None, affine: Any = None) -> Path:
        if voxels is None:
            voxels = np.zeros(SHAPE, dtype=np.int16)
            voxels[4:16, 4:16, 4:16] = random.integers(100, 1000, (12, 12, 12))
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.asarray(voxels), np.eye(4) if affine is None else affine), path)
        return path

    return write


@pytest.fixture
def write_mask(write_scan: Callable[..., Path]) -> Callable[..., Path]:
    """Writes a mask with one lesion of 8 voxels for each corner given."""

    def write(path: Path, *corners: tuple[int, int, int], affine: Any = None, value: int = 1) -> Path:
        voxels = np.zeros(SHAPE, dtype=np.uint8)
        for i, j, k in corners:
            voxels[i : i + 2, j : j + 2, k : k + 2] = value
        return write_scan(path, voxels, affine)

    return write


@pytest.fixture
def task_study() -> Callable[..., TaskStudy]:
    """A study of these files: ``{"flair": path, "prior.flair": path}`` and, if given, a mask."""

    def make(images: dict[str, Path], mask: MaskFile | None = None, subject: str = "a") -> TaskStudy:
        sources = tuple((parse_channel(name).plus, path) for name, path in images.items())
        return TaskStudy(Study(subject, "", {}), sources, mask)

    return make


@pytest.fixture
def faults_of() -> Callable[..., tuple[str, ...]]:
    """Calls a reader that must refuse, and returns its faults."""

    def faults(reader: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[str, ...]:
        with pytest.raises(InputError) as caught:
            reader(*arguments, **named)
        return caught.value.faults

    return faults

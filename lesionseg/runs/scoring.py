"""A model applied to studies: probability maps on the scan's own grid, and their scores."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from lesionseg.build import build
from lesionseg.config.sections import ScoringSection
from lesionseg.data.cache import CachedStudy
from lesionseg.data.channels import parse_channel
from lesionseg.data.files import written_whole
from lesionseg.data.grid import Array, Grid
from lesionseg.data.prepare import to_native
from lesionseg.data.volumes import read_mask
from lesionseg.inference import sliding_window
from lesionseg.metrics import Criterion, remove_small
from lesionseg.models import channels_last
from lesionseg.training import choose_precision
from lesionseg.weights import ModelCard


@dataclass(frozen=True)
class Segmentation:
    """A study as a model sees it, on the grid of its reference or, without one, of its first image.

    Args:
        study: the study.
        probability: (X, Y, Z) float32, 0 to 1.
        mask: (X, Y, Z) uint8; components smaller than the task's smallest lesion left out.
    """

    study: CachedStudy
    probability: Array
    mask: Array


def segment(
    network: nn.Module,
    card: ModelCard,
    studies: Sequence[CachedStudy],
    *,
    threshold: float,
    overlap: float,
    accelerator: str = "auto",
    precision: str = "auto",
) -> Iterator[Segmentation]:
    """Segment studies one after the other.

    Args:
        network: with its trained weights.
        card: what the model is.
        studies: prepared with the card's channels and spacing.
        threshold: probability from which a voxel is lesion.
        overlap: of the sliding window.
        accelerator: ``cpu`` keeps it off a GPU.
        precision: as for training.
    """
    device = torch.device("cuda" if torch.cuda.is_available() and accelerator != "cpu" else "cpu")
    bf16 = choose_precision(precision, accelerator) == "bf16-mixed"
    channels = [parse_channel(name) for name in card.inputs]
    network = channels_last(network).to(device).eval()
    for study in studies:
        image = torch.from_numpy(study.channels(channels)).to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            working = sliding_window(network, image, card.patch_size, overlap=overlap).cpu().numpy()
        probability = to_native(working, study.grid, study.native)
        mask = remove_small(
            probability >= threshold,
            card.min_lesion_volume,
            study.native.spacing,
            card.criterion.connectivity,
        )
        yield Segmentation(study, probability, mask.astype(np.uint8))


def reference_of(study: CachedStudy) -> tuple[Array, Grid]:
    """The mask as it was drawn, 0 and 1, and its grid."""
    assert study.study.mask is not None, "only labelled studies are scored"
    return read_mask(study.study.mask)


def criteria_of(judging: ScoringSection) -> dict[str, Criterion]:
    """The configured criteria by name."""
    return {name: build(spec, Criterion) for name, spec in judging.criteria.items()}


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A table, whole or not at all."""
    with written_whole(path) as partial:
        pd.DataFrame(rows).to_csv(partial, index=False)
    return path

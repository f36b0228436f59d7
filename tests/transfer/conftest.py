"""A small network's model card and checkpoint."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lesionseg.models import UNet3D
from lesionseg.transfer.checkpoint import METADATA_KEY, ModelCard

CARD = ModelCard(
    network={"_target_": "lesionseg.models.UNet3D", "in_channels": 2, "widths": [4, 8]},
    task="new_lesions",
    inputs=["flair", "prior.flair"],
    target="new_lesion",
    spacing=[1.0, 1.0, 1.0],
    patch_size=[8, 8, 8],
    normalisation="zscore_brain",
    threshold=0.5,
    matching={"_target_": "lesionseg.metrics.AnyOverlap", "connectivity": 26},
    min_lesion_volume=3.0,
    dataset="clinic",
    train_subjects=["01", "02", "03"],
    init="scratch",
)


@pytest.fixture
def card() -> Callable[..., ModelCard]:
    """A model card, with some fields changed."""
    return lambda **changes: replace(CARD, **changes)


@pytest.fixture
def network() -> UNet3D:
    """The network that the card describes."""
    torch.manual_seed(1)
    return UNet3D(2, widths=[4, 8])


@pytest.fixture
def write_checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Writes a checkpoint as training does: the network beside other modules, and the card."""

    def write(network: nn.Module, card: ModelCard, **further: Any) -> Path:
        weights = {f"network.{name}": value for name, value in network.state_dict().items()}
        content = {"state_dict": {**weights, "loss.scale": torch.ones(3)}, METADATA_KEY: card.to_dict()}
        torch.save({**content, **further}, tmp_path / "best.ckpt")
        return tmp_path / "best.ckpt"

    return write

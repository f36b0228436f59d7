"""Composed and judged configurations on the tiny cohort."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lesionseg.config.schema import TrainConfig


@pytest.fixture
def configure(
    config_of: Callable[..., TrainConfig], cohort: Any, tiny: tuple[str, ...], tmp_path: Path
) -> Callable[..., TrainConfig]:
    """A training configuration: the tiny cohort and network, two training subjects, outputs in the test's folder."""
    own = ("dataset=bids", f"dataset.root={cohort.root}", f"paths.outputs={tmp_path}/outputs", "train_size=2")
    return lambda *overrides: config_of(*own, *tiny, *overrides)


@pytest.fixture(autouse=True)
def threads() -> Any:
    """Runs may change how many there are."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)

"""Composed and judged configurations on the tiny cohort."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from lesionseg.config.compose import Request, compose_jobs
from lesionseg.config.schema import TrainConfig


@cache
def _composed(overrides: tuple[str, ...]) -> str:
    """To compose takes a quarter of a second, so that equal ones are composed once."""
    (job,), _ = compose_jobs(Request("train", overrides))
    return json.dumps(job.config.model_dump())


@pytest.fixture
def configure(cohort: Any, tiny: tuple[str, ...], tmp_path: Path) -> Callable[..., TrainConfig]:
    """A training configuration: the tiny cohort and network, two training subjects, outputs in the test's folder."""

    def compose(*overrides: str) -> TrainConfig:
        own = ("dataset=bids", f"dataset.root={cohort.root}", "paths.outputs=/placeholder/outputs", "train_size=2")
        placed = tuple(text.replace(str(tmp_path), "/placeholder") for text in overrides)
        composed = _composed((*own, *tiny, *placed))
        return TrainConfig.model_validate(json.loads(composed.replace("/placeholder", str(tmp_path))))

    return compose


@pytest.fixture(autouse=True)
def threads() -> Any:
    """Runs may change how many there are."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)

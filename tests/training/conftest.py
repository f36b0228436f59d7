"""A small network and prepared studies to train it on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lesionseg.data.cache import Cache, CachedStudy
from lesionseg.data.dataset import parse_channel, select_studies
from lesionseg.data.patches import Augmentation
from lesionseg.data.readers import read_bids
from lesionseg.models import DiceCrossEntropy, UNet3D
from lesionseg.training.datamodule import PatchDataModule
from lesionseg.training.module import Optimiser, SegmentationModule
from lesionseg.training.trainer import Machine, fit
from lesionseg.transfer.checkpoint import ModelCard

FLAIR = (parse_channel("flair"),)


@pytest.fixture(scope="session")
def studies(cohort: Any, tmp_path_factory: pytest.TempPathFactory) -> list[CachedStudy]:
    """The first session of ten subjects, in order."""
    stem = "sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}"
    found = read_bids(
        cohort.root,
        name="tiny",
        images={"flair": [f"{stem}_FLAIR.nii.gz"]},
        masks={"lesion": [f"derivatives/lesions/{stem}_label-lesion_mask.nii.gz"]},
    )
    chosen = select_studies(found, FLAIR, "lesion", "first")
    cache = Cache(tmp_path_factory.mktemp("cache"))
    return [cache.get(study, (1.0, 1.0, 1.0)) for study in chosen]


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Sums in one order, so that numbers can be compared bit by bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def card() -> ModelCard:
    return ModelCard(
        network={"_target_": "lesionseg.models.UNet3D", "in_channels": 1, "widths": [4, 8]},
        task="flair_lesions",
        inputs=["flair"],
        target="lesion",
        spacing=[1.0, 1.0, 1.0],
        patch_size=[16, 16, 16],
        normalisation="zscore_brain",
        threshold=0.5,
        matching={"_target_": "lesionseg.metrics.AnyOverlap"},
        min_lesion_volume=3.0,
        dataset="tiny",
        train_subjects=["01"],
        init="scratch",
    )


@pytest.fixture
def make_module(card: ModelCard) -> Callable[..., SegmentationModule]:
    """A module whose network's weights come from a seed."""

    def make(steps=6, names=("a", "b", "c"), network=None, plans=None, **optimiser):
        torch.manual_seed(0)
        chosen = {"learning_rate": 0.01, "weight_decay": 0.01, "warmup_steps": 2, "schedule": "cosine"}
        return SegmentationModule(
            network or UNet3D(1, widths=(4, 8)),
            DiceCrossEntropy(),
            card=card,
            optimiser=Optimiser(**(chosen | optimiser), steps=steps),  # type: ignore[arg-type]
            window_overlap=0.0,
            study_names=names,
            plans=plans,
        )

    return make


@pytest.fixture
def make_data(studies: list[CachedStudy]) -> Callable[..., PatchDataModule]:
    """Three studies to train on and one to validate on."""

    def make(steps: int = 6, validate_every: int = 2, **changed: Any) -> PatchDataModule:
        settings: dict[str, Any] = {
            "batch_size": 2,
            "lesion_share": 0.7,
            "seed": 5,
            "augment": Augmentation([{"_target_": "torchio.RandomFlip", "axes": [0, 1, 2]}]),
            "num_workers": 0,
        }
        return PatchDataModule(
            studies[:3],
            studies[3:4],
            FLAIR,
            (16, 16, 16),
            steps=steps,
            validate_every=validate_every,
            **(settings | changed),
        )

    return make


class Records:
    """What a training told: metrics with their step, and lines."""

    def __init__(self) -> None:
        self.metrics: list[tuple[int, dict[str, float]]] = []
        self.lines: list[str] = []

    def log(self, metrics: Any, step: int = 0) -> None:
        self.metrics.append((step, dict(metrics)))

    def of(self, name: str) -> list[tuple[int, float]]:
        """Every value of one metric, with its step."""
        return [(step, metrics[name]) for step, metrics in self.metrics if name in metrics]


@pytest.fixture
def train() -> Callable[..., tuple[Path, Records]]:
    """Fit on one CPU in float32; returns the best checkpoint and what was told."""

    def run(module: SegmentationModule, data: PatchDataModule, folder: Path, **changed: Any) -> tuple[Path, Records]:
        records = Records()
        settings: dict[str, Any] = {
            "machine": Machine("cpu", precision="32-true"),
            "monitor": "val/dice",
            "gradient_clip": 1.0,
            "log_every": 1,
            "log": records.log,
            "say": records.lines.append,
        }
        return fit(module, data, folder=folder, **(settings | changed)), records

    return run

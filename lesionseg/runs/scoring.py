"""A model applied to studies: probability maps on the scan's own grid, and their scores."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from lesionseg.build import build
from lesionseg.config.schema import ScoringSection
from lesionseg.data.cache import CachedStudy
from lesionseg.data.channels import parse_channel
from lesionseg.data.files import written_whole
from lesionseg.data.grid import Array, Grid
from lesionseg.data.prepare import to_native
from lesionseg.data.volumes import read_mask
from lesionseg.inference import sliding_window
from lesionseg.metrics import Criterion, LesionCurve, StudyScores, lesion_curve, remove_small, score_study
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


def score(segmentation: Segmentation, card: ModelCard, judging: ScoringSection) -> tuple[StudyScores, LesionCurve]:
    """Hold a segmentation against the study's reference mask as it was drawn.

    Returns:
        Its scores under the model's own criterion and under the configured ones, and its curve over all thresholds.
    """
    reference, grid = reference_of(segmentation.study)
    scores = score_study(
        reference,
        segmentation.mask,
        grid.affine,
        card.criterion,
        probability=segmentation.probability,
        min_volume_mm3=card.min_lesion_volume,
        criteria=criteria_of(judging),
        volume_edges_mm3=judging.volume_edges,
        tolerance_mm=judging.surface_tolerance,
    )
    curve = lesion_curve(
        reference,
        segmentation.probability,
        grid.spacing,
        connectivity=card.criterion.connectivity,
        min_volume_mm3=card.min_lesion_volume,
        lowest=judging.lowest_probability,
    )
    return scores, curve


def reference_of(study: CachedStudy) -> tuple[Array, Grid]:
    """The mask as it was drawn, 0 and 1, and its grid."""
    assert study.study.mask is not None, "only labelled studies are scored"
    return read_mask(study.study.mask)


def criteria_of(judging: ScoringSection) -> dict[str, Criterion]:
    """The configured criteria by name."""
    return {name: build(spec, Criterion) for name, spec in judging.criteria.items()}


def case_row(study: CachedStudy, scores: StudyScores) -> dict[str, Any]:
    """A row of ``cases.csv``."""
    who = study.study.study
    return {"study": study.name, "subject": who.subject, "session": who.session, **scores.case.as_row()}


def lesion_rows(study: CachedStudy, scores: StudyScores) -> list[dict[str, Any]]:
    """The study's rows of ``lesions.csv``."""
    return [{"study": study.name, **lesion.as_row()} for lesion in scores.lesions]


def criterion_rows(study: CachedStudy, scores: StudyScores) -> list[dict[str, Any]]:
    """The study's rows of ``criteria.csv``: the scores under each configured criterion."""
    who = study.study.study
    named = {"study": study.name, "subject": who.subject, "session": who.session}
    return [{**named, "criterion": name, **asdict(found)} for name, found in scores.criteria.items()]


def curve_rows(study: CachedStudy, curve: LesionCurve) -> list[dict[str, Any]]:
    """The study's rows of ``froc.csv``: a row for each threshold at which a count changes."""
    counts = zip(
        curve.thresholds.tolist(),
        curve.detected_reference.tolist(),
        curve.n_prediction.tolist(),
        curve.false_positives.tolist(),
        strict=True,
    )
    names = ("threshold", "detected_reference", "n_prediction", "false_positives")
    return [
        {"study": study.name, "n_reference": curve.n_reference, **dict(zip(names, row, strict=True))} for row in counts
    ]


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A table, whole or not at all."""
    with written_whole(path) as partial:
        pd.DataFrame(rows).to_csv(partial, index=False)
    return path

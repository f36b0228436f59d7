"""A model applied to studies: probability maps on the scan's own grid, and the tables of their scores."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lesionseg.config.sections import ScoringSection, TrainerSection
from lesionseg.data.cache import CachedStudy
from lesionseg.data.dataset import parse_channel
from lesionseg.data.nifti import Array, Grid, read_mask
from lesionseg.data.preprocessing import to_native
from lesionseg.inference import sliding_window
from lesionseg.instantiate import build
from lesionseg.io import write_csv
from lesionseg.metrics import (
    Average,
    Criterion,
    LesionCurve,
    average,
    coverage,
    false_alarms,
    froc_area,
    lesion_curve,
    pool_curves,
    remove_small,
    score_study,
    sensitivity_at,
)
from lesionseg.models import channels_last, fold_norms
from lesionseg.training.trainer import choose_precision
from lesionseg.transfer.checkpoint import ModelCard

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Segmentation:
    """A study as a model sees it, on the grid of its reference or, without one, of its first image."""

    study: CachedStudy  # the study
    probability: Array  # (X, Y, Z) float32, 0 to 1; the mean of several networks
    mask: Array  # (X, Y, Z) uint8; components smaller than the task's smallest lesion left out
    disagreement: Array | None = None  # (X, Y, Z) float32, the standard deviation of several networks' maps


def segment(
    networks: Sequence[nn.Module],
    card: ModelCard,
    studies: Sequence[CachedStudy],
    trainer: TrainerSection,
    *,
    threshold: float,
    flips: bool = False,
) -> Iterator[Segmentation]:
    """Segment studies one after the other, by one network or the mean of several; with ``flips`` each sees all eight
    mirror images of a study, and the mean of what it says of them counts."""
    device = torch.device("cuda" if torch.cuda.is_available() and trainer.accelerator != "cpu" else "cpu")
    bf16 = choose_precision(trainer.precision, trainer.accelerator) == "bf16-mixed"
    channels = [parse_channel(name) for name in card.inputs]
    networks = [channels_last(fold_norms(network)).to(device) for network in networks]
    axes = [turned for count in range(4) for turned in combinations((-3, -2, -1), count)] if flips else [()]
    for study in studies:
        image = torch.from_numpy(study.channels(channels)).to(device)
        maps = []
        for network in networks:
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
                turns = [
                    sliding_window(network, image.flip(turned), card.patch_size, overlap=trainer.window_overlap)
                    .flip(turned)
                    .cpu()
                    for turned in axes
                ]
            maps.append(torch.stack(turns).mean(0))
        several = torch.stack(maps)
        native, grid = study.native, study.grid
        probability = to_native(several.mean(0).numpy(), grid, native)
        apart = to_native(several.std(0, correction=0).numpy(), grid, native) if len(maps) > 1 else None
        mask = remove_small(
            probability >= threshold, card.min_lesion_volume, native.spacing, card.criterion.connectivity
        )
        yield Segmentation(study, probability, mask.astype(np.uint8), apart)


def reference_of(study: CachedStudy) -> tuple[Array, Grid]:
    """Return the mask as it was drawn, 0 and 1, and its grid."""
    assert study.study.mask is not None, "only labelled studies are scored"
    return read_mask(study.study.mask)


def criteria_of(scoring: ScoringSection) -> dict[str, Criterion]:
    """Return the configured criteria by name."""
    return {name: build(spec, Criterion) for name, spec in scoring.criteria.items()}


@dataclass(frozen=True)
class ScoreTables:
    """The scores of one study after the other, as ``cases.csv``, ``lesions.csv``, ``criteria.csv`` and ``froc.csv``."""

    scoring: ScoringSection  # criteria, bins and tolerances
    cases: Rows = field(default_factory=list)  # a row per study, under the model's own criterion
    lesions: Rows = field(default_factory=list)  # a row per lesion, likewise
    criteria: Rows = field(default_factory=list)  # a row per study and configured criterion
    froc: Rows = field(default_factory=list)  # a row per study and threshold at which a count changes
    curves: list[LesionCurve] = field(default_factory=list)  # of each study

    def add(self, segmentation: Segmentation, card: ModelCard) -> None:
        """Score a segmentation against the study's reference mask as it was drawn."""
        reference, grid = reference_of(segmentation.study)
        scores = score_study(
            reference,
            segmentation.mask,
            grid.affine,
            card.criterion,
            probability=segmentation.probability,
            min_volume_mm3=card.min_lesion_volume,
            criteria=criteria_of(self.scoring),
            volume_edges_mm3=self.scoring.volume_edges,
            tolerance_mm=self.scoring.surface_tolerance,
        )
        curve = lesion_curve(
            reference,
            segmentation.probability,
            grid.spacing,
            connectivity=card.criterion.connectivity,
            min_volume_mm3=card.min_lesion_volume,
            lowest=self.scoring.lowest_probability,
        )
        study = segmentation.study.study.study
        named = {"study": study.name, "subject": study.subject, "session": study.session}
        self.cases.append({**named, **scores.case.as_row()})
        self.lesions.extend({"study": study.name, **lesion.as_row()} for lesion in scores.lesions)
        self.criteria.extend({**named, "criterion": name, **asdict(found)} for name, found in scores.criteria.items())
        columns = (curve.thresholds, curve.detected_reference, curve.n_prediction, curve.false_positives)
        self.froc.extend(
            {"study": study.name, "n_reference": curve.n_reference, **dict(zip(_FROC, row, strict=True))}
            for row in zip(*(column.tolist() for column in columns), strict=True)
        )
        self.curves.append(curve)

    @property
    def averages(self) -> dict[str, Average]:
        """Each score averaged over the studies with reference lesions, under the model's own criterion."""
        return average(self.cases)

    def metrics(self) -> dict[str, float]:
        """Return every score that is averaged over the studies, by its name in MLflow.

        ``test/...`` is under the task's own criterion, ``verdict/<name>/...`` under the further ones: MLflow shows
        sections by name, and these are to come after ``test`` and ``val``.
        """
        averages, without, covered = self.averages, false_alarms(self.cases), coverage(self.cases)
        metrics: dict[str, float] = {f"test/{name}": one.mean for name, one in averages.items()}
        metrics |= {"test/n_studies": averages["lesion_sensitivity"].n, "test/n_without_lesions": without.n_studies}
        metrics |= {"test/merged_lesions": covered.merged_lesions, "test/volume_ratio": covered.volume_ratio}
        if without.n_studies:
            metrics["test/false_positives_without_lesions"] = without.mean_false_positives
        for name in self.scoring.criteria:
            rows = [row for row in self.criteria if row["criterion"] == name]
            for score, one in average(rows, ("sensitivity", "ppv", "f1")).items():
                metrics[f"verdict/{name}/lesion_{score}"] = one.mean
        froc, limits = pool_curves(self.curves), self.scoring.false_positives
        metrics["test/froc_area"] = froc_area(froc, limits[-1])
        return metrics | {f"test/froc_sensitivity_at_{limit:g}_fp": sensitivity_at(froc, limit) for limit in limits}

    def write(self, folder: Path) -> list[Path]:
        """Write each table as CSV, whole or not at all."""
        tables: Mapping[str, Rows] = {
            "cases": self.cases,
            "lesions": self.lesions,
            "criteria": self.criteria,
            "froc": self.froc,
        }
        return [write_csv(folder / f"{name}.csv", rows) for name, rows in tables.items()]


_FROC = ("threshold", "detected_reference", "n_prediction", "false_positives")


def scores_text(averages: Mapping[str, Average]) -> str:
    """Return ``sensitivity 0.61, PPV 0.58, F1 0.55, Dice 0.47``."""
    names = {"lesion_sensitivity": "sensitivity", "lesion_ppv": "PPV", "lesion_f1": "F1", "dice": "Dice"}
    return ", ".join(f"{label} {averages[name].mean:.2f}" for name, label in names.items())

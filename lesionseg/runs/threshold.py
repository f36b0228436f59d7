"""The threshold that a trained model is used with, chosen on its validation studies."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lesionseg.build import build
from lesionseg.config.schema import TrainConfig
from lesionseg.data.cache import CachedStudy
from lesionseg.data.files import write_json
from lesionseg.metrics import Criterion, ThresholdChoice, choose_threshold, score_lesions
from lesionseg.runs.scoring import reference_of, segment
from lesionseg.weights import load_model, store_threshold


def set_threshold(
    config: TrainConfig, checkpoint: Path, studies: Sequence[CachedStudy], record: Path
) -> ThresholdChoice:
    """Choose the threshold with the highest mean F1 on validation studies and store it in the checkpoint.

    Args:
        config: names the criterion and the thresholds to try.
        checkpoint: the trained model; rewritten with the threshold.
        studies: for validation; never those of the test.
        record: JSON file that tells what was chosen from what.
    """
    metrics = config.metrics
    spec = metrics.threshold_rule(config.task.matching)
    choice = choose_threshold(
        _maps(config, checkpoint, studies, build(spec, Criterion)), metrics.thresholds, metrics.threshold
    )
    store_threshold(checkpoint, choice.threshold)
    content = {
        "threshold": choice.threshold,
        "criterion": {"name": metrics.threshold_criterion, **spec},
        "studies": [study.name for study in studies],
        "n_studies_defined": choice.n_studies,
        "mean_lesion_f1": [
            {"threshold": threshold, "lesion_f1": mean}
            for threshold, mean in zip(choice.candidates, choice.means, strict=True)
        ],
    }
    write_json(record, content)
    return choice


def _maps(
    config: TrainConfig, checkpoint: Path, studies: Sequence[CachedStudy], criterion: Criterion
) -> Iterator[tuple[Any, Any]]:
    """Each study's probability map, and what scores a mask made of it."""
    model = load_model(checkpoint)
    segmentations = segment(
        model.network(),
        model.card,
        studies,
        threshold=config.metrics.threshold,
        overlap=config.trainer.window_overlap,
        accelerator=config.trainer.accelerator,
        precision=config.trainer.precision,
    )
    for segmentation in segmentations:
        reference, grid = reference_of(segmentation.study)
        yield (
            segmentation.probability,
            partial(_f1, reference, grid.spacing, criterion, config.task.min_lesion_volume),
        )


def _f1(
    reference: NDArray[Any],
    spacing: tuple[float, float, float],
    criterion: Criterion,
    min_volume_mm3: float,
    prediction: NDArray[Any],
) -> float:
    return score_lesions(reference, prediction, spacing, criterion, min_volume_mm3=min_volume_mm3).f1

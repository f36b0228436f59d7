"""What a run chooses on its validation studies: a learning rate before it is trained, a threshold afterwards."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from pytorch_lightning import seed_everything
from torch import nn

from lesionseg.commands.initialise import parameter_plans
from lesionseg.commands.plan import RunSpec, triple
from lesionseg.commands.preflight import machine_of
from lesionseg.commands.scoring import reference_of, segment
from lesionseg.config.schema import TrainConfig
from lesionseg.data.patches import Augmentation
from lesionseg.instantiate import build
from lesionseg.io import read_json, write_json
from lesionseg.metrics import Criterion, OneToOneIoU, ThresholdChoice, choose_threshold, score_lesions
from lesionseg.metrics.aggregate import MOST_VOLUME
from lesionseg.training.datamodule import PatchDataModule
from lesionseg.training.module import NotFiniteError, Optimiser, SegmentationModule
from lesionseg.training.trainer import rehearse
from lesionseg.transfer.checkpoint import ModelCard, load_model, store_threshold
from lesionseg.transfer.report import TransferReport

NAN = float("nan")
BASELINE_CUTS = (1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 3.0)  # standard deviations of the brain
BASELINE_MARGINS = (1, 4, 7, 10, 13)  # voxels


@dataclass(frozen=True)
class Candidate:
    """A learning rate, and what a short training with it came to."""

    learning_rate: float  # at the end of the warm-up
    score: float  # the monitored one on the validation studies, 0 … 1; NaN: undefined, or the training broke off
    # of the segmentation, mean over the last quarter of the steps; NaN: it became NaN or infinite, and the training
    # broke off
    loss: float


def build_modules(
    spec: RunSpec, config: TrainConfig, network: nn.Module, card: ModelCard, report: TransferReport
) -> tuple[SegmentationModule, PatchDataModule]:
    """Put a run's network and studies together for Lightning.

    Every random number from here on, of the loss's weights, the patches and the network's dropout, is drawn from the
    run's seed, whatever was drawn before.
    """
    trainer, optim = config.trainer, config.optim
    seed_everything(spec.seed, verbose=False)
    module = SegmentationModule(
        network,
        build(config.loss.function, nn.Module),
        card=card,
        optimiser=Optimiser(optim.learning_rate, optim.weight_decay, optim.warmup_steps, optim.schedule, trainer.steps),
        window_overlap=trainer.window_overlap,
        study_names=[study.name for study in spec.studies["train"]],
        plans=parameter_plans(config, network, report),
    )
    data = PatchDataModule(
        spec.studies["train"],
        spec.studies["validation"],
        config.task.channels,
        triple(config.task.patch_size),
        batch_size=trainer.batch_size,
        steps=trainer.steps,
        validate_every=trainer.validate_every,
        lesion_share=trainer.lesion_share,
        seed=spec.seed,
        augment=Augmentation(config.augment.transforms) if config.augment.transforms else None,
        num_workers=trainer.num_workers,
        checkpoint_every=trainer.checkpoint_every,
    )
    return module, data


def choose_learning_rate(
    spec: RunSpec, network: nn.Module, card: ModelCard, report: TransferReport, record: Path
) -> tuple[Candidate, list[Candidate]]:
    """Try each of ``optim.learning_rates`` and choose the one with the highest score on the validation studies.

    Each is trained for ``optim.search_steps`` from the same first weights, on the patches that the run itself begins
    with, in a schedule of its own: the warm-up no longer than that, the decay over the steps that are left, and starts
    that ``init.train_from`` gives as shares of all steps at these shares of it. It is validated once, at its end.
    """
    config = spec.config
    terms = {"steps": config.optim.search_steps, "monitor": config.metrics.monitor}
    candidates = _recorded(config.candidate_rates, terms, record)
    if candidates is None:
        candidates = [_try(spec, rate, network, card, report) for rate in config.candidate_rates]
    chosen = best_candidate(candidates)
    content = {"chosen": chosen.learning_rate, "candidates": [asdict(one) for one in candidates], **terms}
    write_json(record, content)
    return chosen, candidates


def fit_baseline(spec: RunSpec, network: nn.Module, card: ModelCard) -> ModelCard:
    """Choose the two numbers of an `IntensityThreshold`, in place, by the mean lesion F1 on the training studies.

    Lesions are matched one to one for that: under any overlap a threshold so low that all is one lesion would be best.
    Return the card of one that looks at whole volumes at once, as the distance from the brain's edge asks for.
    """
    scores: dict[tuple[float, int], list[float]] = {}
    rule, smallest = OneToOneIoU(min_iou=0.1), card.min_lesion_volume
    for study in spec.studies["train"]:
        image = torch.from_numpy(study.channels(spec.config.task.channels[:1]))[None]
        for margin in BASELINE_MARGINS:
            network.get_buffer("margin").fill_(margin)
            above = (network(image)[0, 0] + network.get_buffer("threshold")).numpy()
            for cut in BASELINE_CUTS:
                found = score_lesions(study.mask, above >= cut, study.grid.spacing, rule, min_volume_mm3=smallest)
                scores.setdefault((cut, margin), []).append(found.f1)
    cut, margin = max(scores, key=lambda pair: math.fsum(f1 for f1 in scores[pair] if f1 > 0))  # NaN: no lesion at all
    network.get_buffer("margin").fill_(margin)
    network.get_buffer("threshold").fill_(cut - math.log(card.threshold / (1 - card.threshold)))
    shapes = [study.grid.shape for studies in spec.studies.values() for study in studies]
    return replace(card, patch_size=[max(sides) for sides in zip(*shapes, strict=True)])


def best_candidate(candidates: Sequence[Candidate]) -> Candidate:
    """Return the candidate with the highest score; where several have it, the lowest loss of theirs decides, then the
    rate, the smallest first. An undefined score counts as 0, and what broke off is not chosen.
    """
    whole = [one for one in candidates if not math.isnan(one.loss)]
    if not whole:
        rates = ", ".join(f"{one.learning_rate:g}" for one in candidates)
        raise NotFiniteError(
            f"the loss became NaN or infinite with each of optim.learning_rates=[{rates}]; give lower ones, set "
            "trainer.precision=32-true, or look at the studies with lesionseg check"
        )
    return min(whole, key=lambda one: (-one.score if one.score > 0 else 0.0, one.loss, one.learning_rate))


def with_learning_rate(config: TrainConfig, rate: float) -> TrainConfig:
    """Return the configuration with one rate instead of several."""
    optim = config.optim.model_copy(update={"learning_rate": rate, "learning_rates": None})
    return config.model_copy(update={"optim": optim})


def _try(spec: RunSpec, rate: float, network: nn.Module, card: ModelCard, report: TransferReport) -> Candidate:
    config, steps = with_learning_rate(spec.config, rate), spec.config.optim.search_steps
    short = config.model_copy(
        update={
            "optim": config.optim.model_copy(update={"warmup_steps": min(config.optim.warmup_steps, steps)}),
            "trainer": config.trainer.model_copy(update={"steps": steps, "validate_every": steps}),
        }
    )
    module, data = build_modules(spec, short, copy.deepcopy(network), card, report)
    clip, monitor = config.optim.gradient_clip, config.metrics.monitor
    try:
        score, loss = rehearse(module, data, machine=machine_of(config), monitor=monitor, gradient_clip=clip)
    except NotFiniteError:
        return Candidate(rate, NAN, NAN)
    return Candidate(rate, score, loss)


def _recorded(rates: Sequence[float], terms: Mapping[str, Any], record: Path) -> list[Candidate] | None:
    """Return the candidates of an earlier search, None if there was none, or another one."""
    content = read_json(record)
    if not content:
        return None
    found = [
        Candidate(**{key: NAN if value is None else value for key, value in one.items()})
        for one in content["candidates"]
    ]
    same = {key: content.get(key) for key in terms} == terms
    return found if same and [one.learning_rate for one in found] == list(rates) else None


def set_threshold(spec: RunSpec, checkpoint: Path, record: Path) -> ThresholdChoice:
    """Choose the threshold with the highest mean F1 on the validation studies and store it in the checkpoint."""
    metrics, studies = spec.config.metrics, spec.studies["validation"]
    rule = metrics.threshold_rule(spec.config.task.matching)
    maps = _probability_maps(spec, checkpoint, build(rule, Criterion))
    choice = choose_threshold(maps, metrics.thresholds, metrics.threshold)
    store_threshold(checkpoint, choice.threshold)
    means = zip(choice.candidates, choice.means, strict=True)
    content = {
        "threshold": choice.threshold,
        "criterion": {"name": metrics.threshold_criterion, **rule},
        "studies": [study.name for study in studies],
        "n_studies_defined": choice.n_studies,
        "mean_lesion_f1": [{"threshold": threshold, "lesion_f1": mean} for threshold, mean in means],
    }
    write_json(record, content)
    return choice


def _probability_maps(spec: RunSpec, checkpoint: Path, criterion: Criterion) -> Iterator[tuple[Any, Any]]:
    """Return each study's probability map, and what scores a mask made of it."""
    model, config = load_model(checkpoint, trust=True), spec.config
    studies = spec.studies["validation"]
    for found in segment([model.network()], model.card, studies, config.trainer, threshold=config.metrics.threshold):
        reference, grid = reference_of(found.study)
        yield found.probability, partial(_f1, reference, grid.spacing, criterion, config.task.min_lesion_volume)


def _f1(
    reference: NDArray[Any],
    spacing: tuple[float, float, float],
    criterion: Criterion,
    min_volume_mm3: float,
    prediction: NDArray[Any],
) -> float:
    """Return the lesion F1, 0 where so much is marked that overlap says nothing."""
    f1 = score_lesions(reference, prediction, spacing, criterion, min_volume_mm3=min_volume_mm3).f1
    return 0.0 if f1 > 0 and prediction.sum() > MOST_VOLUME * reference.sum() else f1
